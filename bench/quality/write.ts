// Writes docs/quality.md.

import { writeFileSync } from "node:fs";
import { qualityPage } from "./page.ts";

writeFileSync(new URL("../../docs/quality.md", import.meta.url), qualityPage());
