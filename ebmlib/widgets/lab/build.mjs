/**
 * Bundle the Lab into the one file that pages and notebooks load: ebmlib/widgets/ebm_lab.mjs.
 * With --check: only say whether that file is what its sources give.
 */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = (/** @type {string} */ name) => fileURLToPath(new URL(name, import.meta.url));
const [MAIN, BUNDLE] = [here("main.mjs"), here("../ebm_lab.mjs")];
const MOST = 35 * 1024; // bytes, gzipped

const { outputFiles: [{ text }] } = await build({
  entryPoints: [MAIN], bundle: true, minify: true, format: "esm", target: "es2022",
  charset: "utf8", legalComments: "none", loader: { ".css": "text" }, write: false,
});
if (/<\/script|<!--/i.test(text)) throw new Error("the bundle would end or hide its own element");
const size = gzipSync(text, { level: 9 }).length;
if (size > MOST) throw new Error(`the bundle has ${size} bytes gzipped, more than ${MOST}`);
if (process.argv.includes("--check")) {
  const committed = await readFile(BUNDLE, "utf8").catch(() => "");
  if (committed !== text) {
    console.error("ebmlib/widgets/ebm_lab.mjs is not what its sources give; run `make lab`");
    process.exit(1);
  }
} else {
  await writeFile(BUNDLE, text);
}
console.log(`ebm_lab.mjs: ${text.length} characters, ${size} bytes gzipped (at most ${MOST})`);
