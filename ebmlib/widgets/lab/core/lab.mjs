/** The problem that is learned, and one or two trainers that learn it in step. */
import { makeDensity } from "./density.mjs";
import { makeGrid, normalise, shares } from "./grid.mjs";
import { stream, STREAMS } from "./streams.mjs";
import { createTrainer } from "./trainer.mjs";

/** @typedef {import("./types.mjs").Config} Config */
/** @typedef {import("./types.mjs").Network} Network */
/** @typedef {import("./types.mjs").Problem} Problem */

/** Points that came from elsewhere, or an error that says what is wrong with them. */
function checkedPoints(/** @type {Float64Array} */ points) {
  if (points.length < 2 || points.length % 2) throw new RangeError("data must be pairs (x, y)");
  if (!points.every((value) => Math.abs(value) <= 1)) {
    throw new RangeError("data must lie in the square [-1, 1]^2");
  }
  return points;
}

/**
 * Data and truth of a configuration.
 * @param {Config} config
 * @param {Float64Array | null} [given]  the data when config.data is "given"
 * @returns {Problem}
 */
export function createProblem(config, given = null) {
  const grid = makeGrid(config.bins);
  if (config.data === "given") {
    if (!given) throw new RangeError("data \"given\" needs points");
    const data = checkedPoints(given);
    return { config, grid, data, share: shares(grid, data), truth: null, density: null };
  }
  const density = makeDensity(config.data, config.drawing);
  const { uniform, normal } = stream(config.seed, STREAMS.data);
  const data = density.sample(config.points, uniform, normal);
  const values = Float64Array.from({ length: config.bins ** 2 }, (_, k) =>
    density.logDensity(grid.points[2 * k], grid.points[2 * k + 1]));
  const [logProb, prob] = [new Float64Array(values.length), new Float64Array(values.length)];
  const { entropy } = normalise(grid, values, logProb, prob);
  return { config, grid, data, share: shares(grid, data), truth: { logProb, prob, entropy }, density };
}

/**
 * @param {Config} config
 * @param {{points?: Float64Array | null, network?: Network | null}} [given]  data for "given",
 *   and a trained network that side a starts from
 * @returns {import("./types.mjs").Lab}
 */
export function createLab(config, given = {}) {
  const problem = createProblem(config, given.points);
  const a = createTrainer(problem, config.a, given.network);
  const b = config.b ? createTrainer(problem, config.b) : null;
  const trainers = b ? [a, b] : [a];
  const running = () => trainers.filter((trainer) => !trainer.stopped);
  const count = () => Math.min(...(running().length ? running() : trainers).map((t) => t.count));

  /** @type {import("./types.mjs").Lab} */
  const lab = {
    config, problem, a, b, trainers,
    get count() {
      return count();
    },
    advance(budgetMs, most = Infinity) {
      const end = performance.now() + budgetMs;
      const start = count();
      while (running().length && count() - start < most) {
        const left = end - performance.now();
        if (left <= 0) break;
        // whoever is behind goes next
        const [next] = running().sort((one, other) => one.count - other.count);
        next.advance(left, 1);
      }
      return count() - start;
    },
    step() {
      for (const trainer of running()) trainer.step();
      return running().length > 0;
    },
    reset() {
      for (const trainer of trainers) trainer.reset();
    },
    snapshots() {
      const [first, ...others] = trainers.map((trainer) => trainer.snapshots());
      return first.filter((at) => others.every((list) => list.includes(at)));
    },
    seek(at) {
      const there = lab.snapshots().filter((each) => each <= at).pop() ?? 0;
      for (const trainer of trainers) trainer.seek(there);
      return there;
    },
    configure(next) {
      const fixed = (/** @type {Config} */ { data, drawing, points, bins, seed, b: second }) =>
        JSON.stringify([data, drawing, points, bins, seed, second !== null]);
      if (fixed(next) !== fixed(lab.config)) return false;
      const before = lab.config;
      if (!a.configure(next.a)) return false;
      if (b && next.b && !b.configure(next.b)) {
        a.configure(before.a);
        return false;
      }
      lab.config = next;
      return true;
    },
  };
  return lab;
}

