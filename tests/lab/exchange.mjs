/** The core's side of test_lab_core.py: writes or reads weights, prints energies as JSON. */
import { readFileSync, writeFileSync } from "node:fs";
import { logPrior, makeEngine, makeNetwork } from "../../ebmlib/widgets/lab/core/network.mjs";
import { stream } from "../../ebmlib/widgets/lab/core/streams.mjs";
import { fromSafetensors, toSafetensors } from "../../ebmlib/widgets/lab/core/weights.mjs";

const [, , verb, path, described] = process.argv;
let network;
if (verb === "write") {
  const { widths, activation, sd } = JSON.parse(described);
  network = makeNetwork(widths, activation, sd);
  const { normal } = stream(1, 1);
  network.theta.forEach((_, k) => { network.theta[k] = normal() / 2; });
  writeFileSync(path, toSafetensors(network));
} else {
  network = fromSafetensors(new Uint8Array(readFileSync(path)));
}
const points = Float64Array.from({ length: 400 }, (_, n) => {
  const k = n >> 1;
  return n % 2 ? Math.floor(k / 20) / 5 - 0.9 : (k % 20) / 10 - 0.95;
});
const engine = makeEngine(network);
const batch = engine.makeBatch(200);
engine.load(batch, points);
engine.forward(batch);
console.log(JSON.stringify(Array.from({ length: 200 }, (_, k) =>
  -batch.f[k] - logPrior(network.priorSd, points[2 * k], points[2 * k + 1]))));
