/** The core against PyTorch in float64: equal to 1e-10 of the largest number. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { factor, makeAdam } from "../../ebmlib/widgets/lab/core/adam.mjs";
import { makeDensity, DENSITIES, encodeDrawing } from "../../ebmlib/widgets/lab/core/density.mjs";
import { klDivergence, makeGrid, normalise } from "../../ebmlib/widgets/lab/core/grid.mjs";
import { clampConfig } from "../../ebmlib/widgets/lab/core/config.mjs";
import { createProblem } from "../../ebmlib/widgets/lab/core/lab.mjs";
import { logPrior, makeEngine } from "../../ebmlib/widgets/lab/core/network.mjs";
import { langevin, toEnergyGradient } from "../../ebmlib/widgets/lab/core/sampler.mjs";
import { createTrainer } from "../../ebmlib/widgets/lab/core/trainer.mjs";
import { agree, fixtures } from "./help.mjs";

const networkOf = ({ widths, activation, sd, theta }) =>
  ({ widths, activation, priorSd: sd, theta: Float64Array.from(theta) });

for (const fixture of fixtures.networks) {
  const name = `${fixture.widths.join("-")} ${fixture.activation}, prior sd ${fixture.sd}`;
  const points = Float64Array.from(fixture.x);
  const count = points.length / 2;

  test(`values and gradients: ${name}`, () => {
    const network = networkOf(fixture);
    const engine = makeEngine(network);
    const batch = engine.makeBatch(count);
    engine.load(batch, points);
    engine.forward(batch);
    agree(batch.f.subarray(0, count), fixture.f, "forward");
    const gradient = new Float64Array(network.theta.length);
    engine.backward(batch, Float64Array.from(fixture.seeds));
    engine.collect(gradient);
    agree(gradient, fixture.parameter_gradient, "parameter gradient");
    const inputs = new Float64Array(2 * count);
    engine.inputGradient(batch, inputs);
    agree(inputs, fixture.input_gradient, "input gradient");
    toEnergyGradient(inputs, points, fixture.sd);
    agree(inputs, fixture.energy_gradient, "energy's input gradient");
  });

  test(`a Langevin step with the same noise: ${name}`, () => {
    const { step, temperature, noise, moved } = fixture.langevin;
    const engine = makeEngine(networkOf(fixture));
    const places = points.slice();
    let k = 0;
    langevin(engine, engine.makeBatch(count), places, new Float64Array(2 * count), step, temperature,
      () => noise[k++]);
    agree(places, moved, "Langevin step");
  });

  test(`log-partition, entropy and KL: ${name}`, () => {
    const grid = makeGrid(fixtures.bins);
    const engine = makeEngine(networkOf(fixture));
    const batch = engine.makeBatch(grid.bins ** 2);
    engine.load(batch, grid.points);
    engine.forward(batch);
    const [logProb, prob] = [new Float64Array(grid.bins ** 2), new Float64Array(grid.bins ** 2)];
    const values = logProb.map((_, i) =>
      batch.f[i] + logPrior(fixture.sd, grid.points[2 * i], grid.points[2 * i + 1]));
    const { logZ, entropy } = normalise(grid, values, logProb, prob);
    agree([logZ], [fixture.log_partition], "log-partition");
    agree([entropy], [fixture.entropy], "entropy");
    const config = clampConfig({ data: "ring" });
    const { truth } = createProblem({ ...config, bins: fixtures.bins });
    agree([klDivergence(truth, logProb)], [fixture.kl], "KL");
  });

  test(`three exact updates with Adam: ${name}`, () => {
    const config = { ...clampConfig({ data: "given" }), bins: fixtures.bins };
    const problem = createProblem(config, Float64Array.from(fixture.data));
    // the library's cosine ends after 200 updates here
    const side = { ...config.a, lr: 0.05, schedule: "cosine", horizon: 200 };
    const trainer = createTrainer(problem, side, networkOf(fixture));
    for (let k = 0; k < 3; k += 1) assert.ok(trainer.step());
    // densities and not weights: where a gradient is 0 but for rounding (the output's bias,
    // say, which Z absorbs), Adam makes a step of the rounding
    agree(trainer.field().logProb, fixture.trained, "log-density after three updates");
    agree(trainer.history.gradNorm.subarray(0, 3), fixture.grad_norm, "gradient norm");
    agree(trainer.history.logLikelihood.subarray(0, 3), fixture.loss.map((v) => -v), "log-likelihood");
  });
}

test("Adam's steps with the same gradients", () => {
  const { lr, gradients, theta } = fixtures.adam;
  const adam = makeAdam(theta.length);
  const actual = new Float64Array(theta.length);
  gradients.forEach((gradient, k) => {
    adam.update(actual, Float64Array.from(gradient), lr * factor("cosine", k, 200), k);
  });
  agree(actual, theta, "Adam");
});

test("log-densities are the library's", () => {
  assert.deepEqual(Object.keys(DENSITIES), Object.keys(fixtures.densities));
  for (const [name, { log_prob: expected }] of Object.entries(fixtures.densities)) {
    const actual = expected.map((_, i) =>
      makeDensity(name).logDensity(fixtures.x[2 * i], fixtures.x[2 * i + 1]));
    agree(actual, expected, `log-density`);
  }
});

test("the entropy of the truth on the grid is the library's", () => {
  for (const [name, { entropy_on_grid: expected }] of Object.entries(fixtures.densities)) {
    const { truth } = createProblem({ ...clampConfig({ data: name }), bins: fixtures.bins });
    agree([truth.entropy], [expected], "entropy of the truth");
  }
});

test("a drawing is the library's ImageDensity", () => {
  const { cells, log_prob: expected } = fixtures.drawn;
  const density = makeDensity("drawn", encodeDrawing(Uint8Array.from(cells)));
  expected.forEach((value, i) => {
    const actual = density.logDensity(fixtures.x[2 * i], fixtures.x[2 * i + 1]);
    if (value === null) assert.equal(actual, -Infinity);
    else agree([actual], [value], "drawing");
  });
});

after(() => {
  for (const [what, difference] of agree.worst) {
    console.log(`agreement with PyTorch: ${what} ${difference.toExponential(1)}`);
  }
});
