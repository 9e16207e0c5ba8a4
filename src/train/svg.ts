// Plots as SVG. Vega is loaded when one is drawn, so that nothing else waits for it.

import type { TopLevelSpec } from "vega-lite";

export async function svgOf(plot: TopLevelSpec): Promise<string> {
  const [vega, { compile }] = await Promise.all([import("vega"), import("vega-lite")]);
  const view = new vega.View(vega.parse(compile(plot).spec), { renderer: "none" });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}
