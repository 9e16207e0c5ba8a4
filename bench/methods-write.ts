// Writes docs/methods.md.

import { writeFileSync } from "node:fs";
import { methodsPage } from "./methods.ts";

writeFileSync(new URL("../docs/methods.md", import.meta.url), await methodsPage());
