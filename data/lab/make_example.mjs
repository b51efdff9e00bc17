/**
 * A run of the EBM Lab outside a page: writes the file that the Lab's button "Weights" would
 * save after 300 updates, and the energies that the Lab computes from it.
 *
 *     node data/lab/make_example.mjs
 */
import { writeFile } from "node:fs/promises";
import { clampConfig, createLab, toSafetensors } from "../../ebmlib/widgets/lab/core/index.mjs";

const config = clampConfig({ data: "star", seed: 8, a: { width1: 32, width2: 16, prior: 0.3 } });
const lab = createLab(config);
while (lab.count < 300) lab.step();
const { grid } = lab.problem;
const { energy, kl } = lab.a.field();

const write = (name, content) => writeFile(new URL(name, import.meta.url), content);
await write("example.safetensors", toSafetensors(lab.a.network));
await write("example.json", `${JSON.stringify({
  config, updates: lab.count, kl, bins: grid.bins, energy: [...energy],
})}\n`);
