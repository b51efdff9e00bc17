/** Training: repeatable to the last bit, in slices, backwards, and when numbers fail. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clampConfig, SIDE } from "../../ebmlib/widgets/lab/core/config.mjs";
import { makeHistory } from "../../ebmlib/widgets/lab/core/history.mjs";
import { createLab, createProblem } from "../../ebmlib/widgets/lab/core/lab.mjs";
import { makeEngine, makeNetwork } from "../../ebmlib/widgets/lab/core/network.mjs";
import { makeSnapshots } from "../../ebmlib/widgets/lab/core/snapshots.mjs";
import { stream } from "../../ebmlib/widgets/lab/core/streams.mjs";
import { createTrainer } from "../../ebmlib/widgets/lab/core/trainer.mjs";

const METHODS = SIDE.method.values;

/** A small run of each method. */
function configOf(method, side = {}, shared = {}) {
  return clampConfig({
    data: "star", points: 500, bins: 32, seed: 7, ...shared,
    a: { method, steps: 5, chains: 64, width1: 8, width2: 4, batch: 64, ...side },
  });
}

const run = (lab, count) => {
  for (let k = 0; k < count; k += 1) lab.step();
  return lab.a.network.theta.slice();
};

for (const method of METHODS) {
  test(`a reset replays bit for bit: ${method}`, () => {
    const lab = createLab(configOf(method));
    const first = run(lab, 30);
    const curve = lab.a.history.kl.slice(0, 30);
    lab.reset();
    assert.deepEqual(run(lab, 30), first);
    assert.deepEqual(lab.a.history.kl.slice(0, 30), curve);
    assert.deepEqual(run(createLab(configOf(method)), 30), first);
    assert.notDeepEqual(run(createLab(configOf(method, {}, { seed: 8 })), 30), first);
  });

  test(`slices, events and whole steps are the same: ${method}`, () => {
    const whole = run(createLab(configOf(method)), 12);
    const sliced = createLab(configOf(method));
    while (sliced.count < 12) sliced.advance(0.02, 12 - sliced.count);
    assert.deepEqual(sliced.a.network.theta, whole);
    const slow = createLab(configOf(method)).a;
    const kinds = [];
    while (slow.count < 12) {
      const { kind } = slow.next();
      kinds.push(kind);
      // looking must not touch
      slow.field();
      if (kind === "push") assert.ok(slow.push().some((v) => v < 0));
      if (kind === "pull") assert.ok(slow.pull().some((v) => v > 0));
    }
    assert.deepEqual(slow.network.theta, whole);
    const chains = method === "exact" ? [] : Array(5).fill("chains");
    assert.deepEqual(kinds.slice(0, chains.length + 3), [...chains, "push", "pull", "update"]);
  });

  test(`going back and on again is the same path: ${method}`, () => {
    const lab = createLab(configOf(method));
    const end = run(lab, 20);
    assert.equal(lab.seek(9), 9);
    assert.equal(lab.count, 9);
    assert.notDeepEqual(lab.a.network.theta, end);
    assert.equal(lab.snapshots().at(-1), 20); // the present can be come back to
    assert.equal(lab.seek(20), 20);
    assert.deepEqual(lab.a.network.theta, end);
    lab.seek(4);
    assert.deepEqual(run(lab, 16), end);
    assert.equal(lab.a.history.length, 20);
  });
}

test("both sides of a comparison start alike and keep in step", () => {
  const config = configOf("exact");
  config.b = { ...config.a, method: "shortrun" };
  const lab = createLab(config);
  assert.deepEqual(lab.a.network.theta, lab.b.network.theta);
  for (let k = 0; k < 300 && lab.count < 10; k += 1) {
    lab.advance(1);
    assert.ok(Math.abs(lab.a.count - lab.b.count) <= 1);
  }
  assert.ok(lab.count >= 10);
  assert.notDeepEqual(lab.a.network.theta, lab.b.network.theta);
});

test("the gradient is that of the difference of mean energies", () => {
  // finite differences of the exact negative log-likelihood, by a path of its own
  for (const activation of SIDE.activation.values) {
    const config = configOf("exact", { activation, prior: 0.5, init: "he", batch: 0 });
    const problem = createProblem(config);
    const trainer = createTrainer(problem, config.a);
    const { network } = trainer;
    const loss = (theta) => {
      const moved = createTrainer(problem, config.a, { ...network, theta });
      const { energy, logZ } = moved.field();
      return problem.share.reduce((sum, share, k) => sum + share * energy[k], logZ);
    };
    const before = network.theta.slice();
    trainer.step();
    const norm = trainer.history.gradNorm[0];
    let square = 0;
    const h = 1e-5;
    const gradient = before.map((_, k) => {
      const [up, down] = [before.slice(), before.slice()];
      up[k] += h;
      down[k] -= h;
      return (loss(up) - loss(down)) / (2 * h);
    });
    for (const g of gradient) square += g * g;
    // central differences: rounding 1e-16 / h a component; a kink of a ReLU within h of a
    // cell's centre changes one by about h
    const slack = activation.includes("relu") ? 1e-4 : 1e-6;
    assert.ok(Math.abs(Math.sqrt(square) - norm) < slack * norm, `${activation}: ${norm}`);
  }
});

test("forces are minus the slope of the energy", () => {
  for (const activation of ["softplus", "tanh"]) {
    const network = makeNetwork([2, 9, 6, 1], activation, 0.4);
    const { uniform, normal } = stream(6, 9);
    network.theta.forEach((_, k) => { network.theta[k] = normal(); });
    const trainer = createTrainer(createProblem(configOf("exact")), configOf("exact").a, network);
    const energy = (x, y) => {
      const engine = makeEngine(network);
      const batch = engine.makeBatch(1);
      engine.load(batch, Float64Array.of(x, y));
      engine.forward(batch);
      return -batch.f[0] + (x * x + y * y) / (2 * 0.16);
    };
    const points = Float64Array.from({ length: 40 }, () => 2 * uniform() - 1);
    const force = trainer.force(points);
    for (let k = 0; k < 20; k += 1) {
      const [x, y] = [points[2 * k], points[2 * k + 1]];
      const h = 1e-5; // error about h^2 times a third derivative below 1e3
      const slope = [(energy(x + h, y) - energy(x - h, y)) / (2 * h),
        (energy(x, y + h) - energy(x, y - h)) / (2 * h)];
      assert.ok(Math.abs(force[2 * k] + slope[0]) < 1e-6);
      assert.ok(Math.abs(force[2 * k + 1] + slope[1]) < 1e-6);
    }
  }
});

for (const method of METHODS) {
  test(`numbers that fail stop the training with a way back: ${method}`, () => {
    const lab = createLab(configOf(method));
    const trainer = lab.a;
    run(lab, 6);
    const good = trainer.network.theta.slice();
    // no control offers such a rate: the address and the schema cannot, code can
    const { side } = trainer;
    trainer.configure({ ...side, lr: 1e308 });
    assert.ok(trainer.step());
    trainer.configure(side);
    assert.equal(trainer.step(), false);
    assert.match(trainer.stopped.message, /no longer finite after 7 updates.*[Tt]ry/s);
    assert.equal(trainer.stopped.step, 7);
    assert.deepEqual(trainer.network.theta, good); // those of update 6
    assert.equal(trainer.count, 6);
    assert.ok(Number.isFinite(trainer.field().logZ));
    assert.equal(lab.advance(5), 0);
    assert.equal(trainer.next(), null);
    assert.equal(lab.seek(6), 6);
    assert.equal(trainer.stopped, null);
    assert.ok(lab.step()); // and it goes on
    assert.equal(lab.count, 7);
    lab.reset();
    assert.ok(lab.step());
  });
}

test("a model that comes with numbers too large is not trained, and says so", () => {
  const config = configOf("exact");
  const network = makeNetwork([2, 4, 1], "relu");
  network.theta.fill(1e200);
  const trainer = createTrainer(createProblem(config), config.a, network);
  assert.equal(trainer.step(), false);
  assert.match(trainer.stopped.message, /after 0 updates/);
  assert.equal(trainer.count, 0);
});

test("history and snapshots stay bounded however long one trains", () => {
  const history = makeHistory();
  const entry = { kl: 1, logLikelihood: 1, dataEnergy: 1, sampleEnergy: 1, gradNorm: 1 };
  const snapshots = makeSnapshots();
  const state = (count) => () => ({ count, theta: [], mean: [], square: [], chains: [] });
  for (let step = 0; step < 50000; step += 1) {
    history.add({ step, ...entry });
    snapshots.offer(step, state(step));
  }
  assert.ok(history.length <= 4096 && history.length >= 2048);
  assert.equal(history.step[0], 0);
  for (let k = 1; k < history.length; k += 1) {
    assert.equal(history.step[k] - history.step[k - 1], history.every);
  }
  const counts = snapshots.counts(50000);
  assert.ok(counts.length <= 50 && counts.length >= 24);
  assert.equal(counts[0], 0);
  assert.equal(snapshots.before(49999).count, counts.at(-2));
  history.add({ step: 100, ...entry }); // went back, and on from there
  assert.ok(history.step[history.length - 1] <= 100);
});

test("live options change at once, others need a new trainer", () => {
  const lab = createLab(configOf("exact"));
  run(lab, 3);
  const { config } = lab;
  assert.ok(lab.configure({ ...config, a: { ...config.a, lr: 0.1, method: "cd", chains: 128 } }));
  run(lab, 3);
  assert.equal(lab.a.chains.count, 128);
  assert.equal(lab.count, 6);
  for (const [name, value] of [["width1", 16], ["activation", "tanh"], ["prior", 1], ["init", "he"]]) {
    assert.equal(lab.configure({ ...config, a: { ...config.a, [name]: value } }), false);
  }
  assert.equal(lab.configure({ ...config, seed: 3 }), false);
  assert.equal(lab.configure({ ...config, b: config.a }), false);
  for (const [name, { live }] of Object.entries(SIDE)) {
    const other = SIDE[name].values.find((value) => value !== config.a[name]);
    const changed = { ...config.a, [name]: other };
    assert.equal(createLab(config).configure({ ...config, a: changed }), Boolean(live), name);
  }
});

test("data from elsewhere must lie in the square", () => {
  const config = configOf("exact", {}, { data: "given" });
  assert.throws(() => createProblem(config), /needs points/);
  assert.throws(() => createProblem(config, Float64Array.of(0, 2)), /in the square/);
  assert.throws(() => createProblem(config, Float64Array.of(0, NaN)), /in the square/);
  assert.throws(() => createProblem(config, Float64Array.of(0.5)), /pairs/);
  const lab = createLab(config, { points: Float64Array.of(0.1, 0.2, -0.3, 0.4) });
  run(lab, 2);
  assert.ok(Number.isNaN(lab.a.field().kl) && Number.isFinite(lab.a.field().logZ));
  assert.ok(Number.isFinite(lab.a.history.logLikelihood[1]));
});
