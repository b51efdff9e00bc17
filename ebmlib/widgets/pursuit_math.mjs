import { centres, clipLine, logPrior, logSumExp } from "./density_math.mjs";

/**
 * Pursuit on a grid: filters max(0, w.x - b), their expectations over a whole pool, and
 * the exact fit of all coefficients by Newton's method. All sums are over cells.
 *
 * @typedef {[number, number]} Filter  angle of w in degrees, offset b
 * @typedef {{angles: number[], offsets: number[]}} Pool  offsets evenly spaced, rising;
 *   its filters are numbered with the angle slowest
 * @typedef {object} Fit
 * @property {number[]} filters          their numbers in the pool
 * @property {Float64Array[]} features   one array of values on the cells for each filter
 * @property {number[]} coefficients
 * @property {number[]} targets          the data's expectations
 * @property {Float64Array} logMasses    of the model's cells; their sum is 1
 * @property {Float64Array} masses
 * @property {number} error              largest mismatch of a chosen filter
 * @property {number} kl                 KL(data || model) in nats
 */

const TERMS = 32; // of exp(lambda u), |lambda u| <= 6: the rest is below 1e-11
const MATCHED = 1e-9;

/** A filter of the pool. @returns {Filter} */
export function poolFilter({ angles, offsets }, number) {
  return [angles[Math.floor(number / offsets.length)], offsets[number % offsets.length]];
}

/** w of an angle in degrees. */
export function filterDirection(angle) {
  const turn = (angle * Math.PI) / 180;
  return [Math.cos(turn), Math.sin(turn)];
}

/** The part of the line w.x = distance in the square, or null. */
export function filterLine(angle, distance, box) {
  const [a, b] = filterDirection(angle).map((v) => (Math.abs(v) < 1e-12 ? 0 : v));
  return clipLine(a, b, -distance, box);
}

/** Values of a filter on the cells, first coordinate slowest. */
export function filterValues([angle, offset], box, bins) {
  const axis = centres(box, bins);
  const [a, b] = filterDirection(angle);
  return Float64Array.from({ length: bins * bins }, (_, k) =>
    Math.max(0, a * axis[Math.floor(k / bins)] + b * axis[k % bins] - offset),
  );
}

/** Largest coefficient that is sought for one filter alone: 160, or what the series bears. */
function steepest({ offsets }) {
  return Math.min(160, 12 / (offsets[1] - offsets[0]));
}

/** Inner product of two arrays over the cells; `inner` is that of short lists. */
function dot(a, b) {
  let sum = 0;
  for (let k = 0; k < a.length; k += 1) sum += a[k] * b[k];
  return sum;
}

const inner = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** Logarithms of masses that sum to 1. */
export function normalised(logMasses) {
  const total = logSumExp(logMasses);
  return logMasses.map((value) => value - total);
}

/** Log masses of the prior's cells. */
export function priorMasses(prior, box, bins) {
  const axis = centres(box, bins);
  return normalised(Float64Array.from({ length: bins * bins }, (_, k) =>
    logPrior(prior, axis[Math.floor(k / bins)], axis[k % bins])));
}

/** KL between masses given by their logarithms. */
export function massDivergence(logQ, logP) {
  let sum = 0;
  for (let k = 0; k < logQ.length; k += 1) {
    if (logQ[k] > -Infinity) sum += Math.exp(logQ[k]) * (logQ[k] - logP[k]);
  }
  return sum;
}

/**
 * Sort the cells of each angle by w.x into intervals between the pool's offsets, and
 * hand over each cell with a mass: `visit(angle, interval, distance from its lower end)`.
 * Interval -1 lies below all offsets.
 */
function sortCells(masses, { angles, offsets }, box, bins, visit) {
  const axis = centres(box, bins);
  const [first, last] = [offsets[0], offsets.length - 1];
  const step = (offsets[last] - first) / last;
  angles.forEach((angle, number) => {
    const [a, b] = filterDirection(angle);
    for (let i = 0, k = 0; i < bins; i += 1) {
      for (let j = 0; j < bins; j += 1, k += 1) {
        const t = a * axis[i] + b * axis[j];
        const interval = Math.min(last, Math.max(-1, Math.floor((t - first) / step)));
        if (masses[k] > 0) visit(number, interval, t - offsets[Math.max(0, interval)], masses[k]);
      }
    }
  });
}

/**
 * E[h] and E[h^2] of every filter of the pool, angle by angle. No terms cancel: the sums
 * run down the offsets, all of them over what is positive.
 * @returns {{mean: Float64Array, square: Float64Array}}
 */
export function poolMoments(masses, pool, box, bins) {
  const count = pool.offsets.length;
  const size = pool.angles.length * count;
  const sums = [0, 1, 2].map(() => new Float64Array(size));
  sortCells(masses, pool, box, bins, (angle, interval, u, mass) => {
    if (interval < 0) return;
    const place = angle * count + interval;
    sums[0][place] += mass;
    sums[1][place] += mass * u;
    sums[2][place] += mass * u * u;
  });
  const [mean, square] = [new Float64Array(size), new Float64Array(size)];
  pool.angles.forEach((_, angle) => {
    let [mass, first, second] = [0, 0, 0];
    for (let o = count - 1; o >= 0; o -= 1) {
      const place = angle * count + o;
      const step = o + 1 < count ? pool.offsets[o + 1] - pool.offsets[o] : 0;
      second += 2 * step * first + step * step * mass + sums[2][place];
      first += step * mass + sums[1][place];
      mass += sums[0][place];
      mean[place] = first;
      square[place] = second;
    }
  });
  return { mean, square };
}

/**
 * Maximum of lambda m - log G(lambda), where G(lambda) = E[exp(lambda h)], over
 * |lambda| <= most: Newton's method in a bracket.
 * @param {(lambda: number) => number[]} moments  G, G', G''
 */
export function largestGain(target, moments, most) {
  let [low, high, lambda, gain] = [-most, most, 0, 0];
  for (let i = 0; i < 60; i += 1) {
    const [g, first, second] = moments(lambda);
    gain = lambda * target - Math.log(g);
    const slope = target - first / g;
    const bend = second / g - (first / g) ** 2;
    if (slope > 0) low = lambda;
    else high = lambda;
    let next = bend > 0 ? lambda + slope / bend : slope > 0 ? high : low;
    if (next >= high) next = high === most ? high : (low + high) / 2;
    if (next <= low) next = low === -most ? low : (low + high) / 2;
    if (next === lambda || Math.abs(slope * (next - lambda)) < 1e-13) break;
    lambda = next;
  }
  return Math.max(0, gain);
}

/** The exact gain in log-likelihood from one more filter, the other coefficients fixed. */
export function filterGain(masses, values, target, pool) {
  const moments = (lambda) => {
    const sums = [0, 0, 0];
    for (let k = 0; k < values.length; k += 1) {
      const part = masses[k] * Math.exp(lambda * values[k]);
      sums[0] += part;
      sums[1] += part * values[k];
      sums[2] += part * values[k] * values[k];
    }
    return sums;
  };
  return largestGain(target, moments, steepest(pool));
}

/**
 * The same for every filter of the pool: within an interval between two offsets,
 * exp(lambda u) is its series, so that sums over cells become sums over intervals.
 */
export function poolGains(masses, targets, pool, box, bins) {
  const count = pool.offsets.length;
  const half = (pool.offsets[1] - pool.offsets[0]) / 2;
  const width = TERMS + 3;
  const powers = new Float64Array(pool.angles.length * count * width);
  const tops = new Float64Array(count).fill(half);
  sortCells(masses, pool, box, bins, (angle, interval, u, mass) => {
    if (interval < 0) return;
    const start = (angle * count + interval) * width;
    for (let k = 0, part = mass; k < width; k += 1, part *= u - tops[interval]) {
      powers[start + k] += part;
    }
  });
  const sums = [0, 0, 0];
  const total = masses.reduce((a, b) => a + b, 0);
  const series = (angle, o) => (lambda) => {
    let rest = total;
    const terms = Math.min(TERMS, 10 + Math.ceil(4 * Math.abs(lambda) * half));
    sums.fill(0);
    for (let j = o; j < count; j += 1) {
      const start = (angle * count + j) * width;
      if (powers[start] === 0) continue;
      const d = pool.offsets[j] + half - pool.offsets[o];
      let [b0, b1, b2, term] = [0, 0, 0, 1];
      for (let k = 0; k <= terms; k += 1, term *= lambda / k) {
        b0 += term * powers[start + k];
        b1 += term * powers[start + k + 1];
        b2 += term * powers[start + k + 2];
      }
      const scale = Math.exp(lambda * d);
      rest -= powers[start];
      sums[0] += scale * b0;
      sums[1] += scale * (d * b0 + b1);
      sums[2] += scale * (d * d * b0 + 2 * d * b1 + b2);
    }
    sums[0] += Math.max(0, rest);
    return sums;
  };
  return targets.map((target, place) =>
    largestGain(target, series(Math.floor(place / count), place % count), steepest(pool)));
}

/**
 * What the greedy rule looks at, with the sign of the mismatch E_q[h] - E_p[h].
 * Filters that no data activate cannot be matched, and score 0.
 * @param {"mismatch" | "normalised" | "gain"} criterion
 */
export function poolScores(criterion, data, model, gains) {
  return data.mean.map((mean, i) => {
    const mismatch = mean - model.mean[i];
    if (!(mean > 0)) return 0;
    if (criterion === "mismatch") return mismatch;
    if (criterion === "gain") return Math.sign(mismatch) * gains[i];
    const variance = model.square[i] - model.mean[i] ** 2;
    return variance > 1e-9 * model.square[i] ? mismatch / Math.sqrt(variance) : 0;
  });
}

/** Place of the largest score; of scores that differ by rounding alone, the first. */
export function largestScore(scores, passed = new Set()) {
  let top = 0;
  scores.forEach((score, i) => {
    if (!passed.has(i)) top = Math.max(top, Math.abs(score));
  });
  return scores.findIndex((score, i) => !passed.has(i) && Math.abs(score) >= top * (1 - 1e-9));
}

/** Lower triangle L of a positive matrix, L L' = matrix; null where it is not positive. */
function cholesky(matrix) {
  const lower = matrix.map((row) => row.slice());
  for (let j = 0; j < matrix.length; j += 1) {
    for (let k = 0; k < j; k += 1) lower[j][j] -= lower[j][k] ** 2;
    if (!(lower[j][j] > 1e-14 * matrix[j][j])) return null;
    lower[j][j] = Math.sqrt(lower[j][j]);
    for (let i = j + 1; i < matrix.length; i += 1) {
      for (let k = 0; k < j; k += 1) lower[i][j] -= lower[i][k] * lower[j][k];
      lower[i][j] /= lower[j][j];
    }
  }
  return lower;
}

/** The same of a matrix that rounding may have left singular: a little is added then. */
function steadied(matrix) {
  let lower = cholesky(matrix);
  for (let extra = 1e-13; !lower && extra < 1e-3; extra *= 100) {
    lower = cholesky(matrix.map((row, i) => row.map((v, j) => (i === j ? v * (1 + extra) : v))));
  }
  return lower;
}

/** Solve L y = vector, and on request L' x = y. */
function backward(lower, vector, both = true) {
  const y = vector.slice();
  for (let i = 0; i < y.length; i += 1) {
    for (let k = 0; k < i; k += 1) y[i] -= lower[i][k] * y[k];
    y[i] /= lower[i][i];
  }
  for (let i = y.length - 1; both && i >= 0; i -= 1) {
    for (let k = i + 1; k < y.length; k += 1) y[i] -= lower[k][i] * y[k];
    y[i] /= lower[i][i];
  }
  return y;
}

/** Expectations and covariances of features. */
function featureMoments(masses, features) {
  const means = features.map((values) => dot(masses, values));
  const covariance = features.map(() => []);
  const centred = new Float64Array(masses.length);
  features.forEach((values, i) => {
    for (let k = 0; k < centred.length; k += 1) centred[k] = masses[k] * (values[k] - means[i]);
    for (let j = 0; j <= i; j += 1) covariance[j][i] = covariance[i][j] = dot(centred, features[j]);
  });
  return { means, covariance };
}

/** The model's log masses at given coefficients, and log Z against the prior. */
function tilt(logPriorMasses, features, coefficients) {
  const values = Float64Array.from(logPriorMasses);
  features.forEach((feature, i) => {
    const coefficient = coefficients[i];
    for (let k = 0; k < values.length; k += 1) values[k] += coefficient * feature[k];
  });
  const logZ = logSumExp(values);
  return { logZ, logMasses: values.map((value) => value - logZ) };
}

/**
 * Match the expectations of all features: damped Newton on the exact log-likelihood.
 * @returns {{coefficients: number[], logMasses: Float64Array, masses: Float64Array,
 *   error: number, rounds: number}}
 */
export function refit(logPriorMasses, features, targets, start) {
  let coefficients = start.slice();
  let now = tilt(logPriorMasses, features, coefficients);
  for (let rounds = 0; ; rounds += 1) {
    const masses = now.logMasses.map(Math.exp);
    const { means, covariance } = featureMoments(masses, features);
    const gap = targets.map((target, i) => target - means[i]);
    const error = gap.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const lower = error > MATCHED && rounds < 100 ? steadied(covariance) : null;
    if (!lower) return { coefficients, logMasses: now.logMasses, masses, error, rounds };
    const step = backward(lower, gap);
    const rise = inner(gap, step);
    const height = inner(coefficients, targets) - now.logZ;
    for (let share = 1; ; share /= 2) {
      const next = coefficients.map((value, i) => value + share * step[i]);
      const there = tilt(logPriorMasses, features, next);
      const gained = inner(next, targets) - there.logZ - height;
      if (gained >= 1e-4 * share * rise || rise < 1e-10 || share < 1e-6) {
        [coefficients, now] = [next, there];
        break;
      }
    }
  }
}

/** A problem: data and prior on one grid, and the fits that were made for it. */
export function pursuitProblem(logData, prior, pool, box, bins) {
  const logQ = normalised(logData);
  const data = logQ.map(Math.exp);
  const logPriorMasses = priorMasses(prior, box, bins);
  const fits = new Map();
  /** @returns {Fit} */
  const fit = (filters) => {
    const key = JSON.stringify(filters);
    if (fits.has(key)) return fits.get(key);
    if (fits.size > 60) fits.clear();
    const former = filters.length ? fit(filters.slice(0, -1)) : null;
    const values = former ? filterValues(poolFilter(pool, filters.at(-1)), box, bins) : null;
    const features = former ? [...former.features, values] : [];
    const targets = former ? [...former.targets, dot(data, features.at(-1))] : [];
    const made = refit(logPriorMasses, features, targets, former ? [...former.coefficients, 0] : []);
    const found = { ...made, filters, features, targets, kl: massDivergence(logQ, made.logMasses) };
    fits.set(key, found);
    return found;
  };
  return {
    data,
    logQ,
    moments: poolMoments(data, pool, box, bins),
    fit,
    /** KL after 0, 1, 2, ... of the filters. */
    path: (filters) => Array.from({ length: filters.length + 1 }, (_, n) => fit(filters.slice(0, n)).kl),
  };
}

/**
 * What one filter, by its number in the pool, would bring; and why it cannot be added.
 * @param {Fit} fit
 * @param {Float64Array} data  masses of the data
 * @returns {{mismatch: number, target: number, expectation: number, gain: number,
 *   refused: string}}
 */
export function consider(fit, data, number, pool, box, bins) {
  const values = filterValues(poolFilter(pool, number), box, bins);
  const [target, expectation] = [dot(data, values), dot(fit.masses, values)];
  const mismatch = target - expectation;
  const found = { target, expectation, mismatch, gain: 0, refused: "" };
  if (fit.filters.includes(number)) {
    return { ...found, refused: "it is one of the chosen filters already" };
  }
  if (!(target > 0)) {
    return { ...found, refused: "no data lie beyond its line, and no positive density matches that" };
  }
  const { covariance } = featureMoments(fit.masses, [...fit.features, values]);
  const variance = covariance.at(-1).at(-1);
  const lower = cholesky(covariance.slice(0, -1).map((row) => row.slice(0, -1)));
  const explained = lower ? backward(lower, covariance.at(-1).slice(0, -1), false) : [];
  if (lower && variance - inner(explained, explained) < 1e-9 * variance) {
    return { ...found, refused: "it is a combination of the chosen filters, which match already" };
  }
  if (Math.abs(mismatch) < 1e-8) {
    return { ...found, refused: "its expectation matches already, so there is nothing to gain" };
  }
  return { ...found, gain: filterGain(fit.masses, values, target, pool) };
}
