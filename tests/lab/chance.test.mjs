/** Samplers: data from the densities, and chains, against the laws that they should have. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DENSITIES, encodeDrawing, makeDensity } from "../../ebmlib/widgets/lab/core/density.mjs";
import { erfc, logNdtr } from "../../ebmlib/widgets/lab/core/density.mjs";
import { makeEngine, makeNetwork } from "../../ebmlib/widgets/lab/core/network.mjs";
import { fold, langevin } from "../../ebmlib/widgets/lab/core/sampler.mjs";
import { stream, STREAMS } from "../../ebmlib/widgets/lab/core/streams.mjs";
import { fixtures, gap } from "./help.mjs";

/** Number of standard errors beyond which chance is no excuse: once in 30,000 runs. */
const ERRORS = 4;

/**
 * Pearson's statistic in standard errors above its mean; cells that expect fewer than five
 * count as one. Its mean is the degrees of freedom, its variance twice that.
 */
function chiSquared(counts, expected) {
  const pool = [0, 0];
  let [sum, freedom] = [0, -1];
  expected.forEach((mean, k) => {
    if (mean < 5) {
      pool[0] += counts[k];
      pool[1] += mean;
      return;
    }
    sum += (counts[k] - mean) ** 2 / mean;
    freedom += 1;
  });
  if (pool[1] >= 5) {
    sum += (pool[0] - pool[1]) ** 2 / pool[1];
    freedom += 1;
  }
  assert.ok(freedom >= 3, "too few cells to compare");
  return (sum - freedom) / Math.sqrt(2 * freedom);
}

/** Masses of coarse cells under a log-density, by the midpoint rule on fine ones. */
function masses(logDensity, coarse, fine) {
  const width = 2 / (coarse * fine);
  const out = new Float64Array(coarse * coarse);
  for (let i = 0; i < coarse * fine; i += 1) {
    for (let j = 0; j < coarse * fine; j += 1) {
      const cell = Math.floor(i / fine) * coarse + Math.floor(j / fine);
      out[cell] += width ** 2
        * Math.exp(logDensity(-1 + (i + 0.5) * width, -1 + (j + 0.5) * width));
    }
  }
  const total = out.reduce((a, b) => a + b);
  return out.map((mass) => mass / total);
}

const drawing = encodeDrawing(Uint8Array.from(fixtures.drawn.cells));
for (const density of [...Object.values(DENSITIES), makeDensity("drawn", drawing)]) {
  test(`samples follow the density: ${density.name}`, () => {
    const [count, coarse] = [20000, 12];
    const { uniform, normal } = stream(5, STREAMS.data);
    const points = density.sample(count, uniform, normal);
    const counts = new Float64Array(coarse * coarse);
    for (let k = 0; k < points.length; k += 2) {
      assert.ok(Math.abs(points[k]) <= 1 && Math.abs(points[k + 1]) <= 1);
      const cell = (u) => Math.min(coarse - 1, Math.floor(((u + 1) / 2) * coarse));
      counts[cell(points[k]) * coarse + cell(points[k + 1])] += 1;
    }
    const expected = masses(density.logDensity, coarse, 40).map((mass) => mass * count);
    const excess = chiSquared(counts, expected);
    // the statistic's tail is longer than a Gaussian's: allow for its skewness, 2 / sqrt(f / 2)
    assert.ok(excess < ERRORS + 2, `${excess.toFixed(1)} standard errors`);
  });
}

test("the error function and the normal tail", () => {
  // Abramowitz and Stegun, table 7.1, and exact identities
  assert.ok(gap([erfc(0.5), erfc(1), erfc(3)],
    [0.4795001221869535, 0.15729920705028513, 2.209049699858544e-5]) < 1e-14);
  for (const x of [0.3, 1.99, 2.01, 4]) {
    assert.ok(Math.abs(erfc(x) + erfc(-x) - 2) < 1e-15);
    const slope = (erfc(x + 1e-5) - erfc(x - 1e-5)) / 2e-5; // its derivative is known
    const exact = (-2 / Math.sqrt(Math.PI)) * Math.exp(-x * x);
    // central difference: h^2 / 6 of the third derivative, and rounding of 2e-16 / h
    assert.ok(Math.abs(slope - exact) < 1e-9 * Math.abs(exact) * (1 + x ** 4) + 1e-10);
  }
  assert.ok(Math.abs(logNdtr(-40) - -804.608442013754) < 1e-9); // mpmath
});

/** Chains of a Gaussian energy: a network of zeros tilts the prior not at all. */
function gaussianChains({ sd, step, temperature, count, steps }) {
  const engine = makeEngine(makeNetwork([2, 4, 1], "relu", sd));
  const batch = engine.makeBatch(count);
  const points = new Float64Array(2 * count);
  const gradient = new Float64Array(2 * count);
  const { normal } = stream(11, STREAMS.chains);
  for (let k = 0; k < steps; k += 1) {
    langevin(engine, batch, points, gradient, step, temperature, normal);
  }
  return points;
}

for (const [step, temperature] of [[0.1, 1], [0.2, 1], [0.1, 0.25]]) {
  test(`Langevin chains on a Gaussian: step ${step}, temperature ${temperature}`, () => {
    const sd = 0.15;
    const points = gaussianChains({ sd, step, temperature, count: 2000, steps: 60 });
    // x' = a x + s sqrt(T) noise with a = 1 - s^2 / 2 sd^2: normal, with this variance;
    // its start at 0 is forgotten as a^120 < 1e-9
    const a = 1 - step ** 2 / (2 * sd ** 2);
    const variance = (temperature * step ** 2) / (1 - a ** 2);
    const size = Math.sqrt(variance);
    assert.ok(a ** 120 < 1e-9 && 1 / size > 4, "the walls are out of reach");
    const count = points.length;
    const mean = points.reduce((sum, x) => sum + x, 0) / count;
    const square = points.reduce((sum, x) => sum + x * x, 0) / count;
    assert.ok(Math.abs(mean) < ERRORS * size / Math.sqrt(count), `mean ${mean}`);
    // the variance of x^2 is 2 variance^2
    assert.ok(Math.abs(square - variance) < ERRORS * variance * Math.sqrt(2 / count),
      `variance ${square} against ${variance}`);
    const [bins, counts] = [16, new Float64Array(16)];
    const below = (x) => 0.5 * erfc(-x / size / Math.SQRT2);
    for (const x of points) counts[Math.min(bins - 1, Math.floor(below(x) * bins))] += 1;
    const excess = chiSquared(counts, counts.map(() => count / bins));
    assert.ok(excess < ERRORS + 2, `histogram: ${excess.toFixed(1)} standard errors`);
    // the step's own error is seen: the chain is wider than exp(-E / T)
    if (step === 0.2) assert.ok(square > temperature * sd ** 2 * 1.2);
  });
}

test("walls reflect: a flat energy stays uniform, and a point within stays itself", () => {
  const engine = makeEngine(makeNetwork([2, 4, 1], "relu"));
  const { uniform, normal } = stream(3, STREAMS.chains);
  const points = Float64Array.from({ length: 8000 }, () => 2 * uniform() - 1);
  const batch = engine.makeBatch(4000);
  for (let k = 0; k < 20; k += 1) {
    langevin(engine, batch, points, new Float64Array(8000), 0.5, 1, normal);
  }
  const counts = new Float64Array(10);
  for (const x of points) counts[Math.min(9, Math.floor((x + 1) * 5))] += 1;
  assert.ok(chiSquared(counts, counts.map(() => 800)) < ERRORS + 2);
  assert.deepEqual([0.3, -1, 1, 1.25, -1.5, 3.5, 5.25].map(fold), [0.3, -1, 1, 0.75, -0.5, -0.5, 0.75]);
  assert.ok(Number.isNaN(fold(Infinity)));
});
