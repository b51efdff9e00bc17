/**
 * The one learning rule: push the energy down at the data, pull it up at the model's own
 * samples. The four methods differ only in where the negative points come from.
 */
import { factor, makeAdam } from "./adam.mjs";
import { klDivergence, normalise, shares } from "./grid.mjs";
import { makeHistory } from "./history.mjs";
import { BLOCK } from "./kernels.mjs";
import { initialise, logPrior, makeEngine, makeNetwork } from "./network.mjs";
import { langevin, toEnergyGradient } from "./sampler.mjs";
import { makeSnapshots } from "./snapshots.mjs";
import { stream, STREAMS } from "./streams.mjs";

/** @typedef {import("./types.mjs").LabEvent} LabEvent */
/** @typedef {import("./types.mjs").Network} Network */
/** @typedef {import("./types.mjs").Problem} Problem */
/** @typedef {import("./types.mjs").Side} Side */
/** @typedef {import("./snapshots.mjs").State} State */

const TRAILS = 64; // chains that leave a trail
const LOAD = 1024; // data in a batch at once
const MODEL = /** @type {(keyof Side)[]} */ (["width1", "width2", "activation", "init", "prior"]);

/** @param {Side} side @returns {Network} */
export function networkOf({ width1, width2, activation, prior }) {
  return makeNetwork(width2 ? [2, width1, width2, 1] : [2, width1, 1], activation, prior);
}

/**
 * @param {Problem} problem
 * @param {Side} side
 * @param {Network | null} [given]  start from this network, whatever the side says of it
 * @returns {import("./types.mjs").Trainer}
 */
export function createTrainer(problem, side, given = null) {
  const { grid, data, truth, config: { seed } } = problem;
  const network = given
    ? { ...given, widths: [...given.widths], theta: given.theta.slice() }
    : networkOf(side);
  const { theta, priorSd } = network;
  const engine = makeEngine(network);
  const adam = makeAdam(theta.length);
  const cells = grid.bins ** 2;

  const onGrid = engine.makeBatch(cells);
  engine.load(onGrid, grid.points);
  const prior = Float64Array.from({ length: cells }, (_, k) =>
    logPrior(priorSd, grid.points[2 * k], grid.points[2 * k + 1]));
  const onData = engine.makeBatch(LOAD);
  const dataSeeds = new Float64Array(LOAD);
  const [share, cellSeeds] = [new Float64Array(cells), new Float64Array(cells)];
  const dataGradient = new Float64Array(theta.length);
  const modelGradient = new Float64Array(theta.length);
  const gradient = new Float64Array(theta.length);

  const values = new Float64Array(cells);
  const field = {
    energy: new Float64Array(cells), logProb: new Float64Array(cells),
    prob: new Float64Array(cells), logZ: NaN, entropy: NaN, kl: NaN,
  };
  const history = makeHistory();
  const snapshots = makeSnapshots();
  const chains = {
    count: 0, points: new Float64Array(0), trailCount: 0, trailLength: 0,
    trail: new Float64Array(0),
  };
  let onChains = engine.makeBatch(0);
  let [chainGradient, chainSeeds] = [new Float64Array(0), new Float64Array(0)];
  /** @type {Generator<LabEvent | null, void> | null} */
  let work = null; // the update that is under way
  let fresh = false; // whether `field` is that of theta
  /** @type {State | null} */
  let good = null; // the last state whose gradient was finite

  // ---- state ----------------------------------------------------------------------

  /** @returns {State} */
  const state = () => ({
    count: trainer.count, theta: theta.slice(), mean: adam.mean.slice(),
    square: adam.square.slice(), chains: chains.points.slice(),
  });

  function restore(/** @type {State} */ from) {
    work = null;
    trainer.count = from.count;
    theta.set(from.theta);
    adam.mean.set(from.mean);
    adam.square.set(from.square);
    if (from.chains.length === chains.points.length) chains.points.set(from.chains);
    chains.trailLength = 0;
    changed();
  }

  function changed() {
    engine.pack();
    fresh = false;
  }

  function makeChains() {
    const { count, uniform } = { count: trainer.side.chains, ...stream(seed, STREAMS.chains) };
    chains.count = count;
    chains.points = Float64Array.from({ length: 2 * count }, () => 2 * uniform() - 1);
    chains.trailCount = Math.min(TRAILS, count);
    chains.trailLength = 0;
    chainGradient = new Float64Array(2 * count);
    chainSeeds = new Float64Array(count).fill(1 / count);
    onChains = engine.makeBatch(count);
  }

  function reset() {
    work = null;
    good = null;
    trainer.stopped = null;
    trainer.count = 0;
    const { uniform, normal } = stream(seed, STREAMS.weights);
    if (given) theta.set(given.theta);
    else initialise(network, trainer.side.init, data, uniform, normal);
    adam.mean.fill(0);
    adam.square.fill(0);
    history.clear();
    snapshots.clear();
    makeChains();
    changed();
  }

  // ---- the parts of an update; a `yield` lets the page breathe ------------------------

  /** Blocks of a batch in slices of about a millisecond. */
  function* slices(/** @type {number} */ count, /** @type {(a: number, b: number) => void} */ run) {
    const blocks = Math.ceil(count / BLOCK);
    for (let first = 0; first < blocks; first += engine.slice) {
      run(first, Math.min(blocks, first + engine.slice));
      yield null;
    }
  }

  /** What the model is on the grid. */
  function* measure() {
    if (fresh) return;
    yield* slices(cells, (first, end) => engine.forward(onGrid, first, end));
    for (let k = 0; k < cells; k += 1) {
      values[k] = onGrid.f[k] + prior[k];
      field.energy[k] = -values[k];
    }
    Object.assign(field, normalise(grid, values, field.logProb, field.prob));
    field.kl = truth ? klDivergence(truth, field.logProb) : NaN;
    fresh = true;
  }

  /** dataGradient = gradient of the mean energy of some data points. */
  function* dataTerm(/** @type {Float64Array} */ points) {
    for (let start = 0; start < points.length; start += 2 * LOAD) {
      const part = points.subarray(start, start + 2 * LOAD);
      dataSeeds.fill(-2 / points.length);
      engine.load(onData, part);
      yield* slices(onData.count, (first, end) => {
        engine.forward(onData, first, end);
        engine.backward(onData, dataSeeds, first, end);
      });
    }
    engine.collect(dataGradient);
  }

  /** gradient of sum_k weights_k E at the grid's points. */
  function* gridTerm(
    /** @type {Float64Array} */ weights, /** @type {Float64Array} */ into,
  ) {
    for (let k = 0; k < cells; k += 1) cellSeeds[k] = -weights[k];
    yield* slices(cells, (first, end) => engine.backward(onGrid, cellSeeds, first, end));
    engine.collect(into);
  }

  /** Run the chains; the gradient of less their mean energy into modelGradient. */
  function* chainTerm(/** @type {() => number} */ uniform, /** @type {() => number} */ normal) {
    const { method, steps, step, temperature } = trainer.side;
    const { points, trailCount, count } = chains;
    if (method === "shortrun") for (let k = 0; k < points.length; k += 1) points[k] = 2 * uniform() - 1;
    if (method === "cd") points.set(drawRows(count, uniform));
    if (chains.trail.length < 2 * trailCount * (steps + 1)) {
      chains.trail = new Float64Array(2 * trailCount * (steps + 1));
    }
    chains.trail.set(points.subarray(0, 2 * trailCount));
    chains.trailLength = 1;
    for (let done = 1; done <= steps; done += 1) {
      langevin(engine, onChains, points, chainGradient, step, temperature, normal);
      chains.trail.set(points.subarray(0, 2 * trailCount), 2 * trailCount * done);
      chains.trailLength = done + 1;
      yield /** @type {LabEvent} */ ({ kind: "chains", done, total: steps });
    }
    engine.load(onChains, points);
    engine.forward(onChains);
    engine.backward(onChains, chainSeeds);
    engine.collect(modelGradient);
    let energy = 0;
    for (let i = 0; i < count; i += 1) {
      energy -= (onChains.f[i] + logPrior(priorSd, points[2 * i], points[2 * i + 1])) / count;
    }
    return energy;
  }

  /** Some of the data, drawn with replacement. */
  function drawRows(/** @type {number} */ count, /** @type {() => number} */ uniform) {
    const rows = new Float64Array(2 * count);
    for (let i = 0; i < count; i += 1) {
      const row = 2 * Math.floor((uniform() * data.length) / 2);
      rows[2 * i] = data[row];
      rows[2 * i + 1] = data[row + 1];
    }
    return rows;
  }

  /** @param {Float64Array} weights @param {Float64Array} energy */
  function mean(weights, energy) {
    let sum = 0;
    for (let k = 0; k < weights.length; k += 1) if (weights[k] > 0) sum += weights[k] * energy[k];
    return sum;
  }

  // ---- one update ---------------------------------------------------------------------

  /** @returns {Generator<LabEvent | null, void>} */
  function* update() {
    const { count, side: { method, batch, lr, schedule, horizon } } = trainer;
    const { uniform, normal } = stream(seed, STREAMS.update, count);
    snapshots.offer(count, state);
    yield* measure();
    const rows = batch === 0 ? data : drawRows(batch, uniform);
    let sampleEnergy = NaN;
    if (method === "exact") {
      // the data are counted on the cells: both terms then live on the grid alone
      if (batch === 0) share.set(problem.share);
      else shares(grid, rows, share);
      for (let k = 0; k < cells; k += 1) values[k] = share[k] - field.prob[k];
      yield* gridTerm(values, gradient);
      sampleEnergy = mean(field.prob, field.energy);
    } else {
      sampleEnergy = yield* chainTerm(uniform, normal);
      yield* dataTerm(rows);
      for (let k = 0; k < gradient.length; k += 1) gradient[k] = dataGradient[k] + modelGradient[k];
    }
    yield { kind: "push" };
    yield { kind: "pull" };
    let norm = 0;
    for (let k = 0; k < gradient.length; k += 1) norm += gradient[k] * gradient[k];
    norm = Math.sqrt(norm);
    if (!Number.isFinite(norm + field.logZ + sampleEnergy)) {
      stop(norm);
      return;
    }
    good = state();
    history.add({
      step: count, kl: field.kl, gradNorm: norm, sampleEnergy,
      logLikelihood: mean(problem.share, field.logProb),
      dataEnergy: mean(problem.share, field.energy),
    });
    adam.update(theta, gradient, lr * factor(schedule, count, horizon), count);
    changed();
    trainer.count = count + 1;
    yield { kind: "update" };
  }

  function stop(/** @type {number} */ norm) {
    const at = trainer.count;
    if (good) restore(good);
    trainer.stopped = {
      step: at,
      message: `Numbers were no longer finite after ${at} updates (log Z is ${field.logZ}, the `
        + `gradient's norm ${norm}). The picture shows the last good weights. Try a smaller `
        + "learning rate or step size, or go back and on from there.",
    };
  }

  /** Go on with the update until it next yields. @returns {LabEvent | null} */
  function resume() {
    work ??= update();
    const { value, done } = work.next();
    if (done || value?.kind === "update") work = null;
    return value ?? null;
  }

  /** Rate at which plain gradient descent on one term changes the energy on the grid. */
  function rate(/** @type {Float64Array} */ direction) {
    let size = 0;
    for (let k = 0; k < direction.length; k += 1) size += direction[k] ** 2;
    const out = new Float64Array(cells);
    if (size === 0) return out;
    exhaust(measure());
    const small = 1e-6 / Math.sqrt(size);
    const moved = makeEngine({ ...network, theta: theta.map((t, k) => t - small * direction[k]) });
    const batch = moved.makeBatch(cells);
    moved.load(batch, grid.points);
    moved.forward(batch);
    for (let k = 0; k < cells; k += 1) out[k] = (onGrid.f[k] - batch.f[k]) / small;
    return out;
  }

  function exhaust(/** @type {Generator<any, any>} */ generator) {
    while (!generator.next().done);
  }

  /** @type {import("./types.mjs").Trainer} */
  const trainer = {
    problem, side: { ...side }, network, count: 0, history, chains, stopped: null,
    field() {
      exhaust(measure());
      return field;
    },
    step() {
      const start = trainer.count;
      while (!trainer.stopped && trainer.count === start) resume();
      return !trainer.stopped;
    },
    advance(budgetMs, most = Infinity) {
      const [start, end] = [trainer.count, performance.now() + budgetMs];
      while (!trainer.stopped && trainer.count - start < most && performance.now() < end) resume();
      return Math.max(0, trainer.count - start);
    },
    next() {
      while (!trainer.stopped) {
        const event = resume();
        if (event) return event;
      }
      return null;
    },
    push() {
      if (trainer.side.method === "exact") exhaust(gridTerm(share, dataGradient));
      return rate(dataGradient);
    },
    pull() {
      if (trainer.side.method === "exact") {
        exhaust(gridTerm(field.prob.map((p) => -p), modelGradient));
      }
      return rate(modelGradient);
    },
    force(points, out = new Float64Array(points.length)) {
      const batch = engine.makeBatch(points.length / 2);
      engine.load(batch, points);
      engine.forward(batch);
      engine.inputGradient(batch, out);
      toEnergyGradient(out, points, priorSd);
      for (let k = 0; k < out.length; k += 1) out[k] = -out[k];
      return out;
    },
    configure(next) {
      if (!given && MODEL.some((name) => next[name] !== trainer.side[name])) return false;
      if (JSON.stringify(next) === JSON.stringify(trainer.side)) return true;
      const rebuild = next.chains !== trainer.side.chains;
      trainer.side = { ...next };
      work = null;
      snapshots.forget(trainer.count);
      if (rebuild) makeChains();
      return true;
    },
    reset,
    snapshots: () => snapshots.counts(trainer.count),
    seek(at) {
      snapshots.keep(state());
      const found = snapshots.before(at);
      trainer.stopped = null;
      good = null;
      restore(found);
      return found.count;
    },
  };
  reset();
  return trainer;
}
