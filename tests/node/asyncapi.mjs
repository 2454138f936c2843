// node asyncapi.mjs FILE: exit status 1, and a line for each fault, where AsyncAPI's own parser finds one.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const WARNING = 1;
const { diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const faults = diagnostics.filter(({ severity }) => severity <= WARNING);
for (const { code, message, path } of faults) console.log(`${path.join(".")}: ${message} (${code})`);
process.exitCode = faults.length ? 1 : 0;
