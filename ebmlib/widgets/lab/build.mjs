/**
 * Bundle the Lab into the one file that pages and notebooks load, ebmlib/widgets/ebm_lab.mjs,
 * and write down for Python what its options may be and its presets, ebm_lab.json.
 * With --check: only say whether those files are what their sources give.
 */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, transform } from "esbuild";
import { PRESETS, SHARED, SIDE, VIEW } from "./core/index.mjs";

const here = (/** @type {string} */ name) => fileURLToPath(new URL(name, import.meta.url));
const MOST = 35000; // bytes, gzipped

/** Style sheets as short texts. @type {import("esbuild").Plugin} */
const styles = {
  name: "styles",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const sheet = await readFile(path, "utf8");
      const { code } = await transform(sheet, { loader: "css", minify: true, target: "es2022" });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

const { outputFiles: [{ text }] } = await build({
  entryPoints: [here("main.mjs")], bundle: true, minify: true, format: "esm", target: "es2022",
  charset: "utf8", legalComments: "none", plugins: [styles], write: false,
});
if (/<\/script|<!--/i.test(text)) throw new Error("the bundle would end or hide its own element");
const size = gzipSync(text, { level: 9 }).length;
if (size > MOST) throw new Error(`the bundle has ${size} bytes gzipped, more than ${MOST}`);

/** An option as JSON can hold it. */
const plain = (/** @type {Record<string, import("./core/types.mjs").Option>} */ schema) =>
  Object.fromEntries(Object.entries(schema).map(([name, { label, initial, values, range, many, pattern }]) =>
    [name, { label, initial, values, range, many, pattern: pattern?.source }]));
const options = `${JSON.stringify(
  { shared: plain(SHARED), side: plain(SIDE), view: plain(VIEW), presets: PRESETS }, null, 1)}\n`;

const files = [["ebm_lab.mjs", text], ["ebm_lab.json", options]];
for (const [name, content] of files) {
  const path = here(`../${name}`);
  if (!process.argv.includes("--check")) {
    await writeFile(path, content);
  } else if ((await readFile(path, "utf8").catch(() => "")) !== content) {
    console.error(`ebmlib/widgets/${name} is not what its sources give; run \`make lab\``);
    process.exit(1);
  }
}
console.log(`ebm_lab.mjs: ${text.length} characters, ${size} bytes gzipped (at most ${MOST})`);
