// Names under which a decoder's stated ranges know wires that no tensor of the model is called by.

/**
 * The residual stream behind a branch, by the branch's last layer: `layers.0.attention.output` adds
 * to `layers.0.attention.stream`, `layers.0.o` to `layers.0.stream`.
 */
export function streamName(branch: string | undefined): string | undefined {
  return branch?.replace(/[^.]*$/, "stream");
}
