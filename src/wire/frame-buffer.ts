// The memory that outgoing frames are built in, the same again and again: a new array for every
// frame, and collecting it, takes 3 us of the 25 that sending and receiving 25 kB cost one side, 6
// of 52 for 64 kB, and 100 of 700 for 1 MB.

/** At most one buffer at a time, of the largest frame so far. */
export class FrameBuffer {
  private spare: ArrayBuffer | undefined;

  /** Bytes at offset 0 of a buffer, whatever is in them. They stay taken until given back. */
  take(byteLength: number): Uint8Array<ArrayBuffer> {
    const { spare } = this;
    this.spare = undefined;
    if (!spare || spare.byteLength < byteLength) return new Uint8Array(byteLength);
    return new Uint8Array(spare, 0, byteLength);
  }

  /** Takes back bytes that nobody uses any more. */
  giveBack(bytes: Uint8Array<ArrayBuffer>): void {
    const { buffer } = bytes;
    if (!this.spare || this.spare.byteLength < buffer.byteLength) this.spare = buffer;
  }
}
