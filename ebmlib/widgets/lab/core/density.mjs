/**
 * Densities that data come from: those of ebmlib.distributions, and a drawn one.
 *
 * Log densities are those of the library (most are normalised on the plane); samples
 * that fall outside the square are drawn again, and what is exact is normalised on the
 * grid, so that truth and data agree.
 */
/** @typedef {import("./types.mjs").Density} Density */

/** Cells a side of a drawing, and its grey levels 0 to 3 (two bits a cell). */
export const DRAWING_SIDE = 24;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const LENGTH = (DRAWING_SIDE * DRAWING_SIDE) / 3;

/** A drawing as text: nothing, or three cells a letter, at least one not black. */
export const DRAWING_PATTERN = new RegExp(`^(?:(?!A*$)[A-Za-z0-9_-]{${LENGTH}})?$`);

/** An empty drawing: grey levels 0 to 3, row 0 at the top. */
export const blankDrawing = () => new Uint8Array(DRAWING_SIDE * DRAWING_SIDE);

/** @param {Uint8Array} cells @returns {string}  "" for a black one */
export function encodeDrawing(cells) {
  if (!cells.some((level) => level > 0)) return "";
  let text = "";
  for (let k = 0; k < cells.length; k += 3) {
    text += LETTERS[cells[k] * 16 + cells[k + 1] * 4 + cells[k + 2]];
  }
  return text;
}

/** @param {string} text @returns {Uint8Array} */
export function decodeDrawing(text) {
  const cells = blankDrawing();
  if (!DRAWING_PATTERN.test(text)) return cells;
  for (let k = 0; k < text.length; k += 1) {
    const code = LETTERS.indexOf(text[k]);
    cells.set([code >> 4, (code >> 2) & 3, code & 3], 3 * k);
  }
  return cells;
}

const SQRT_2PI = Math.sqrt(2 * Math.PI);

/** The complementary error function, relative error about 1e-15. @param {number} x @returns {number} */
export function erfc(x) {
  if (x < 0) return 2 - erfc(-x);
  if (x < 2) {
    let term = x;
    let sum = x;
    for (let n = 1; term > 1e-17 * sum; n += 1) sum += term *= (2 * x * x) / (2 * n + 1);
    return 1 - (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  return Math.exp(-x * x) * scaledTail(x);
}

/** exp(x^2) erfc(x) for x >= 2, by its continued fraction. @param {number} x */
function scaledTail(x) {
  let rest = x;
  for (let n = 60; n >= 1; n -= 1) rest = x + n / 2 / rest;
  return 1 / (Math.sqrt(Math.PI) * rest);
}

/** log of the standard normal distribution function. @param {number} z */
export function logNdtr(z) {
  const x = -z / Math.SQRT2;
  if (x < 0) return Math.log1p(-0.5 * erfc(-x));
  return x < 2 ? Math.log(0.5 * erfc(x)) : -x * x + Math.log(0.5 * scaledTail(x));
}

/** @param {number} a @param {number} b */
const logAddExp = (a, b) => Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));

/** log [Phi((t - start) / sd) - Phi((t - stop) / sd)], accurate in both tails. */
function logSmoothInterval(
  /** @type {number} */ t, /** @type {number} */ start,
  /** @type {number} */ stop, /** @type {number} */ sd,
) {
  const half = (stop - start) / 2;
  const distance = Math.abs(t - (stop + start) / 2);
  const upper = logNdtr((half - distance) / sd);
  return upper + Math.log(-Math.expm1(logNdtr((-half - distance) / sd) - upper));
}

/** Log density on the circle of a normal angle with mean zero. */
function logWrappedNormal(/** @type {number} */ angle, /** @type {number} */ sd) {
  const turn = 2 * Math.PI;
  const z = angle - turn * Math.floor((angle + Math.PI) / turn);
  if (sd >= 1.5) {
    let sum = 0;
    for (let n = 1; n <= 6; n += 1) sum += Math.exp(-0.5 * (n * sd) ** 2) * Math.cos(n * z);
    return Math.log1p(2 * sum) - Math.log(turn);
  }
  const top = -0.5 * (z / sd) ** 2; // no winding is nearer than none
  let sum = 0;
  for (let k = -2; k <= 2; k += 1) sum += Math.exp(-0.5 * ((z + turn * k) / sd) ** 2 - top);
  return top + Math.log(sum) - Math.log(sd * SQRT_2PI);
}

/**
 * @typedef {() => number} Source
 * @typedef {(uniform: Source, normal: Source) => [number, number]} Draw
 */

/**
 * @param {string} name
 * @param {string} title
 * @param {(x: number, y: number) => number} logDensity
 * @param {Draw} draw
 * @returns {Density}
 */
function density(name, title, logDensity, draw) {
  return {
    name, title, logDensity,
    sample(count, uniform, normal) {
      const points = new Float64Array(2 * count);
      for (let i = 0; i < count; i += 1) {
        let place = draw(uniform, normal);
        while (Math.max(Math.abs(place[0]), Math.abs(place[1])) > 1) place = draw(uniform, normal);
        points.set(place, 2 * i);
      }
      return points;
    },
  };
}

/**
 * Equal Gaussians; on the square only where `cut`.
 * @param {number[][]} means
 * @param {number[][]} sds
 * @param {boolean} [cut]
 * @returns {{logDensity: (x: number, y: number) => number, draw: Draw}}
 */
function mixture(means, sds, cut = false) {
  const count = means.length;
  const below = (/** @type {number} */ z) => 0.5 * erfc(-z / Math.SQRT2);
  const mass = means.reduce((sum, mean, k) => sum + mean.reduce((product, m, j) =>
    product * (below((1 - m) / sds[k][j]) - below((-1 - m) / sds[k][j])), 1), 0) / count;
  const logTotal = cut ? Math.log(mass) : 0;
  const scale = sds.map(([a, b]) => -Math.log(count * 2 * Math.PI * a * b) - logTotal);
  return {
    logDensity(x, y) {
      let log = -Infinity;
      for (let k = 0; k < count; k += 1) {
        const u = (x - means[k][0]) / sds[k][0];
        const v = (y - means[k][1]) / sds[k][1];
        const next = scale[k] - 0.5 * (u * u + v * v);
        log = log === -Infinity ? next : logAddExp(log, next);
      }
      return log;
    },
    draw(uniform, normal) {
      const k = Math.min(count - 1, Math.floor(count * uniform()));
      return [means[k][0] + sds[k][0] * normal(), means[k][1] + sds[k][1] * normal()];
    },
  };
}

/** Round Gaussians of one size. @param {number[][]} means @param {number} sd */
const blobs = (means, sd, cut = false) => mixture(means, means.map(() => [sd, sd]), cut);

/** @param {string} name @param {string} title @param {ReturnType<typeof mixture>} parts */
const named = (name, title, { logDensity, draw }) => density(name, title, logDensity, draw);

const STAR = [
  [-0.68, 0.55], [-0.48, 0.7], [0.1, 0.78], [0.66, 0.5],
  [0.74, -0.16], [0.28, -0.36], [-0.25, -0.72], [-0.72, -0.22],
];

/** @param {number} r @param {number} angle @returns {[number, number]} */
const polar = (r, angle) => [r * Math.cos(angle), r * Math.sin(angle)];

function ring(radius = 0.6, sd = 0.05) {
  const edge = Math.exp(-0.5 * (radius / sd) ** 2);
  const mass = sd * SQRT_2PI * 0.5 * erfc(-radius / (sd * Math.SQRT2));
  const logNorm = Math.log(2 * Math.PI * (sd * sd * edge + radius * mass));
  const mode = 0.5 * (radius + Math.sqrt(radius ** 2 + 4 * sd ** 2));
  return density("ring", "ring",
    (x, y) => -0.5 * ((Math.hypot(x, y) - radius) / sd) ** 2 - logNorm,
    (uniform, normal) => {
      for (;;) {
        const r = mode + sd * normal();
        if (uniform() < (r / mode) * Math.exp(1 - r / mode)) {
          return polar(r, 2 * Math.PI * uniform());
        }
      }
    });
}

function crossLines(half = 0.8, sd = 0.05) {
  const logScale = Math.log(4 * half * sd * SQRT_2PI);
  return density("cross_lines", "cross lines",
    (x, y) => {
      const [u, v] = [(x + y) / Math.SQRT2, (x - y) / Math.SQRT2];
      const arm = (/** @type {number} */ along, /** @type {number} */ across) =>
        logSmoothInterval(along, -half, half, sd) - 0.5 * (across / sd) ** 2;
      return logAddExp(arm(u, v), arm(v, u)) - logScale;
    },
    (uniform, normal) => {
      const place = ((2 * uniform() - 1) * half) / Math.SQRT2;
      const sign = uniform() < 0.5 ? -1 : 1;
      return [place + sd * normal(), sign * place + sd * normal()];
    });
}

function textonTexture(share = 0.7) {
  const star = blobs(STAR, 0.06, true);
  const whole = named("", "", star);
  const floor = Math.log((1 - share) / 4);
  return density("texton_texture", "textons on a floor",
    (x, y) => logAddExp(Math.log(share) + star.logDensity(x, y), floor),
    (uniform, normal) => {
      if (uniform() >= share) return [2 * uniform() - 1, 2 * uniform() - 1];
      const [x, y] = whole.sample(1, uniform, normal); // the star is cut off at the square
      return [x, y];
    });
}

function twoSpirals(turns = 1.5, inner = 0.15, outer = 0.85, sd = 0.035, taper = 0.03) {
  const rate = (2 * Math.PI * turns) / outer;
  const [start, stop] = [inner ** 2, outer ** 2];
  const positive = (/** @type {number} */ mean) =>
    mean * 0.5 * erfc(-mean / taper / Math.SQRT2)
    + (taper * Math.exp(-0.5 * (mean / taper) ** 2)) / SQRT_2PI;
  const logMass = Math.log(positive(stop) - positive(start));
  const angleSd = (/** @type {number} */ r) => sd * Math.hypot(1 / r, rate);
  return density("two_spirals", "two spirals",
    (x, y) => {
      const r = Math.max(1e-12, Math.hypot(x, y));
      return Math.LN2 + logSmoothInterval(r * r, start, stop, taper) - logMass
        + logWrappedNormal(2 * (Math.atan2(y, x) - rate * r), 2 * angleSd(r));
    },
    (uniform, normal) => {
      let t = -1;
      while (t <= 0) t = start + (stop - start) * uniform() + taper * normal();
      const r = Math.sqrt(t);
      const arm = uniform() < 0.5 ? Math.PI : 0;
      return polar(r, rate * r + angleSd(r) * normal() + arm);
    });
}

function fourSpin(distance = 0.45, along = 0.11, across = 0.05, twist = 2.5) {
  const petals = mixture(
    [[distance, 0], [0, distance], [-distance, 0], [0, -distance]],
    [[along, across], [across, along], [along, across], [across, along]],
  );
  /** @param {number} x @param {number} y @returns {[number, number]} */
  const turn = (x, y, sign = 1) => {
    const angle = sign * twist * Math.hypot(x, y);
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    return [cos * x - sin * y, sin * x + cos * y];
  };
  return density("four_spin", "pinwheel",
    (x, y) => petals.logDensity(...turn(x, y, -1)),
    (uniform, normal) => turn(...petals.draw(uniform, normal)));
}

/** @param {number} count @param {number} radius @param {number} angle */
const onCircle = (count, radius, angle) => Array.from({ length: count }, (_, k) =>
  polar(radius, angle + (2 * Math.PI * k) / count));

/** @param {number} side @param {number} half */
const lattice = (side, half) => Array.from({ length: side * side }, (_, k) =>
  [Math.floor(k / side), k % side].map((i) => -half + (2 * half * i) / (side - 1)));

/** The course's toy densities, with the library's own parameters and names. */
export const DENSITIES = /** @type {Record<string, Density>} */ (Object.fromEntries([
  ring(),
  named("two_gaussians", "two Gaussians", blobs([[-0.4, -0.4], [0.4, 0.4]], 0.12)),
  named("star", "star", blobs(STAR, 0.06, true)),
  textonTexture(),
  crossLines(),
  named("clusters", "clusters", blobs(onCircle(8, 0.7, 0.3), 0.02)),
  named("dots", "dots", blobs(lattice(3, 0.6), 0.06)),
  twoSpirals(),
  fourSpin(),
].map((one) => [one.name, one])));

/** A piecewise constant density, as `ImageDensity`: row 0 is the top. @param {Uint8Array} cells */
function drawn(cells) {
  const side = DRAWING_SIDE;
  const total = cells.reduce((sum, level) => sum + level, 0);
  const area = (2 / side) ** 2;
  const at = (/** @type {number} */ u) =>
    Math.min(side - 1, Math.max(0, Math.floor(((u + 1) / 2) * side)));
  const cumulative = new Float64Array(cells.length);
  cells.reduce((sum, level, k) => (cumulative[k] = sum + level), 0);
  return density("drawn", "your drawing",
    (x, y) => Math.log(cells[(side - 1 - at(y)) * side + at(x)] / total / area),
    (uniform) => {
      const u = uniform() * total;
      const k = cumulative.findIndex((sum) => sum > u);
      const [row, column] = [Math.floor(k / side), k % side];
      const place = (/** @type {number} */ i) => -1 + ((i + uniform()) * 2) / side;
      return [place(column), place(side - 1 - row)];
    });
}

/**
 * @param {string} name  of DENSITIES, or "drawn"
 * @param {string} [drawing]  the drawing as text
 * @returns {Density}
 */
export function makeDensity(name, drawing = "") {
  if (Object.hasOwn(DENSITIES, name)) return DENSITIES[name];
  const cells = decodeDrawing(drawing);
  if (name !== "drawn" || !cells.some((level) => level > 0)) {
    throw new RangeError(`no density ${name}, or an empty drawing`);
  }
  return drawn(cells);
}
