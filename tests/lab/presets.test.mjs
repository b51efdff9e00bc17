/** Each preset shows what its sentence says, and not for one seed only. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clampConfig } from "../../ebmlib/widgets/lab/core/config.mjs";
import { makeGrid, shares } from "../../ebmlib/widgets/lab/core/grid.mjs";
import { createLab } from "../../ebmlib/widgets/lab/core/lab.mjs";
import { PRESETS } from "../../ebmlib/widgets/lab/core/presets.mjs";

const SEEDS = [1, 2, 3];
const LAST = 50; // updates over which a curve is averaged
const COARSE = makeGrid(8);

/** Masses on 8 x 8 cells of masses on finer ones. */
function coarse(prob, bins) {
  const out = new Float64Array(64);
  prob.forEach((mass, k) => {
    const [i, j] = [Math.floor(k / bins), k % bins].map((n) => Math.floor((8 * n) / bins));
    out[8 * i + j] += mass;
  });
  return out;
}

const variation = (p, q) => p.reduce((sum, mass, k) => sum + Math.abs(mass - q[k]), 0) / 2;

/** Train a preset's two sides from a seed; what is left to be judged. */
function outcome({ config, updates }, seed) {
  const lab = createLab(clampConfig({ ...config, seed }));
  const truth = coarse(lab.problem.truth.prob, config.bins);
  const sampled = lab.trainers.map(() => new Float64Array(64));
  while (lab.count < updates && lab.step()) {
    if (lab.count <= updates - 20) continue;
    lab.trainers.forEach(({ chains }, s) => {
      shares(COARSE, chains.points).forEach((share, k) => { sampled[s][k] += share / 20; });
    });
  }
  return lab.trainers.map((trainer, s) => {
    const { history, stopped } = trainer;
    const curve = history.kl.subarray(history.length - LAST, history.length);
    return {
      stopped,
      kl: curve.reduce((a, b) => a + b) / LAST,
      model: variation(coarse(trainer.field().prob, config.bins), truth),
      samples: variation(sampled[s], truth),
    };
  });
}

/** What each preset must show, for every seed. */
const CLAIMS = {
  "short-run": (a, b) => {
    assert.ok(a.kl < 0.5, "exact learning comes near");
    assert.ok(b.kl > 1 && b.kl > 5 * a.kl, "the short-run energy is wrong");
    assert.ok(b.samples < 0.5 * b.model, "its samples are much nearer than its density");
  },
  "one-step": (a, b) => {
    assert.ok(a.kl < 2, "twenty steps stay near");
    assert.ok(b.kl > 5 && b.kl > 5 * a.kl, "one step runs away");
  },
  "large-step": (a, b) => {
    assert.ok(a.kl < 2, "the small step stays near");
    assert.ok(b.stopped || (b.kl > 20 && b.kl > 20 * a.kl), "the large one diverges");
  },
  "narrow-prior": (a, b) => {
    assert.ok(a.kl < 0.3, "the flat prior is near");
    assert.ok(b.kl > 3 * a.kl, "the narrow one is far behind");
  },
  depth: (a, b) => assert.ok(a.kl < 0.5 * b.kl, "two layers are nearer"),
};

test("every preset is tested, and its sentence is one", () => {
  assert.deepEqual(PRESETS.map(({ id }) => id), Object.keys(CLAIMS));
  for (const { sentence, title, config } of PRESETS) {
    assert.match(sentence, /^[A-Z][^.!?]*(?:\d\.\d[^.!?]*)*\.$/);
    assert.ok(title && config.b);
    assert.deepEqual(clampConfig(config), config);
  }
  const { a, b } = PRESETS.find(({ id }) => id === "depth").config;
  assert.deepEqual([a.width1, a.width2, b.width1, b.width2], [16, 16, 64, 0]);
});

for (const preset of PRESETS) {
  test(`${preset.title}: ${preset.sentence}`, () => {
    const seen = SEEDS.map((seed) => outcome(preset, seed));
    const show = (s) => seen.map((sides) => sides[s].kl.toPrecision(2)).join(", ");
    console.log(`preset ${preset.id}: KL of A ${show(0)}; of B ${show(1)} `
      + `(seeds ${SEEDS.join(", ")}, ${preset.updates} updates)`);
    for (const [a, b] of seen) CLAIMS[preset.id](a, b);
  });
}
