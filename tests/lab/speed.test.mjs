/**
 * How long a training step takes, in processor time, so that what else runs on the machine
 * counts little: the best of several repeats. (Frames a second are measured in a browser.)
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clampConfig } from "../../ebmlib/widgets/lab/core/config.mjs";
import { createLab } from "../../ebmlib/widgets/lab/core/lab.mjs";

/** Milliseconds of processor time a step. */
function milliseconds(side, steps) {
  const { a } = createLab(clampConfig({ data: "ring", bins: 48, a: side }));
  for (let k = 0; k < 20; k += 1) a.step();
  let best = Infinity;
  for (let repeat = 0; repeat < 8; repeat += 1) {
    const start = process.cpuUsage();
    for (let k = 0; k < steps; k += 1) a.step();
    const { user, system } = process.cpuUsage(start);
    best = Math.min(best, (user + system) / 1000 / steps);
  }
  return best;
}

const CASES = [
  ["exact, 48 x 48 cells, 2-32-16-1", { method: "exact" }, 20, 60],
  ["256 chains x 30 steps, 2-32-16-1",
    { method: "shortrun", chains: 256, steps: 30, batch: 256 }, 6, 20],
];
for (const [name, side, steps, wanted] of CASES) {
  test(`${name}: the goal is ${wanted} training steps a second`, () => {
    const each = milliseconds(side, steps);
    console.log(`speed of a core: ${name}: ${each.toFixed(1)} ms of processor time a training `
      + `step, ${Math.round(1000 / each)} a second (goal: ${wanted})`);
    assert.ok(Number.isFinite(each) && each > 0);
  });
}

test("no slice of work is long: the page can breathe", () => {
  // the largest network, all chains, the finest grid: the longest stretch between two yields
  const { a } = createLab(clampConfig({
    data: "ring", bins: 96, points: 10000,
    a: { method: "shortrun", chains: 1024, steps: 2, width1: 64, width2: 64, batch: 0 },
  }));
  const longest = [];
  for (let k = 0; k < 400; k += 1) {
    const start = process.cpuUsage();
    a.advance(0.001);
    const { user, system } = process.cpuUsage(start);
    longest.push((user + system) / 1000);
  }
  assert.ok(a.count >= 1, "it gets on all the same");
  longest.sort((x, y) => y - x);
  const high = longest[Math.floor(longest.length / 50)]; // without compiling and collecting
  console.log(`speed of a core: the longest slices of the heaviest setting take ${high.toFixed(1)} ms`);
});
