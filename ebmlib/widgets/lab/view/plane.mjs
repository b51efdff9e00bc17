import { contours, modes } from "../core/index.mjs";
import { INK, RAMPS } from "./colour.mjs";
import { quantile } from "./marks.mjs";

/**
 * The picture of one model: a field in colour, and what lies on it.
 *
 * @typedef {import("../core/types.mjs").Chains} Chains
 * @typedef {import("./colour.mjs").Theme} Theme
 *
 * @typedef {object} Scene
 * @property {Theme} theme
 * @property {Float64Array} values   what the colours show, on the grid
 * @property {import("../core/types.mjs").Grid} grid
 * @property {"density" | "energy" | "signed"} ramp
 * @property {[number, number]} range  values of the ramp's ends
 * @property {number} [power]        of the colour scale; 1 by default
 * @property {Float64Array} energy   for contours and modes
 * @property {(points: Float64Array) => Float64Array} force  -dE/dx at points
 * @property {Set<string>} layers
 * @property {Float64Array} data
 * @property {Chains | null} chains
 * @property {Float64Array[][]} lines  for each layer and neuron, pieces x0, y0, x1, y1, ...
 */

const LOW = -1;
const SIDE = 2;

/** @type {HTMLCanvasElement | null} */
let scratch = null;

/** Colour the cells on a small canvas; drawn large, it is smoothed by the browser. */
function fieldImage(/** @type {Scene} */ { values, grid: { bins }, ramp, range, theme, power = 1 }) {
  scratch ??= document.createElement("canvas");
  scratch.width = bins;
  scratch.height = bins;
  const context = /** @type {CanvasRenderingContext2D} */ (scratch.getContext("2d"));
  const image = context.createImageData(bins, bins);
  const pixels = new Uint32Array(image.data.buffer);
  const colours = new Uint32Array(RAMPS[theme][ramp].buffer);
  const scale = 255 / (range[1] - range[0] || 1);
  for (let i = 0; i < bins; i += 1) {
    for (let j = 0; j < bins; j += 1) {
      let place = (values[i * bins + j] - range[0]) * scale;
      if (power !== 1) place = 255 * Math.max(0, place / 255) ** power;
      const index = place > 255 ? 255 : place > 0 ? (place + 0.5) | 0 : 0;
      pixels[(bins - 1 - j) * bins + i] = colours[index > 255 ? 255 : index];
    }
  }
  context.putImageData(image, 0, 0);
  return scratch;
}

/**
 * Draw with paths in pixels; y points up in the square and down on the canvas.
 * @param {CanvasRenderingContext2D} context
 * @param {number} size
 */
function pen(context, size) {
  const X = (/** @type {number} */ x) => ((x - LOW) / SIDE) * size;
  const Y = (/** @type {number} */ y) => size - ((y - LOW) / SIDE) * size;
  return {
    X, Y,
    /** Discs at points, with a halo that keeps them apart from the ground. */
    discs(/** @type {Float64Array} */ points, /** @type {number} */ count, /** @type {number} */ radius, /** @type {string} */ fill, /** @type {string} */ halo) {
      context.beginPath();
      for (let k = 0; k < count; k += 1) {
        const [x, y] = [X(points[2 * k]), Y(points[2 * k + 1])];
        context.moveTo(x + radius, y);
        context.arc(x, y, radius, 0, 6.2832);
      }
      context.lineWidth = 1.6;
      context.strokeStyle = halo;
      context.stroke();
      context.fillStyle = fill;
      context.fill();
    },
  };
}

/** Heights of the contours: half a nat to some nats below the top, by what is there. */
export function contourLevels(/** @type {Float64Array} */ energy) {
  const low = quantile(energy, 0);
  const high = quantile(energy, 0.98);
  const range = high - low;
  if (!(range > 1e-6)) return [];
  const rough = range / 9;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * ([1, 2, 5, 10].find((n) => n * unit >= rough) ?? 10);
  const levels = [];
  for (let k = Math.ceil(low / step); k * step < high; k += 1) levels.push(k * step);
  return levels.slice(0, 24);
}

/** Arrows of the force -dE/dx at cell centres on a lattice. */
function forces(/** @type {CanvasRenderingContext2D} */ context, /** @type {Scene} */ { force: forceAt, grid: { bins, points }, theme }, /** @type {number} */ size) {
  const every = Math.max(2, Math.round(bins / 14));
  const longest = (0.82 * every * size) / bins;
  /** @type {number[]} */
  const cells = [];
  for (let i = every >> 1; i < bins; i += every) {
    for (let j = every >> 1; j < bins; j += every) cells.push(i * bins + j);
  }
  const force = forceAt(Float64Array.from(cells.flatMap((k) => [points[2 * k], points[2 * k + 1]])));
  const arrows = cells.map((k, n) => [Math.floor(k / bins), k % bins, force[2 * n], force[2 * n + 1]]);
  let typical = arrows.reduce((sum, [, , u, v]) => sum + Math.hypot(u, v), 0);
  typical = Math.max(1e-9, (2.5 * typical) / arrows.length);
  context.beginPath();
  for (const [i, j, u, v] of arrows) {
    const strength = Math.hypot(u, v);
    const length = longest * Math.tanh((1.4 * strength) / typical);
    if (!(length > 2.5)) continue;
    const [dx, dy] = [(u / strength) * length, (-v / strength) * length];
    const x = ((i + 0.5) * size) / bins - dx / 2;
    const y = size - ((j + 0.5) * size) / bins - dy / 2;
    const head = Math.min(4.5, 0.45 * length) / length;
    context.moveTo(x, y);
    context.lineTo(x + dx, y + dy);
    context.moveTo(x + dx - head * (dx - 0.6 * dy), y + dy - head * (dy + 0.6 * dx));
    context.lineTo(x + dx, y + dy);
    context.lineTo(x + dx - head * (dx + 0.6 * dy), y + dy - head * (dy - 0.6 * dx));
  }
  context.strokeStyle = INK[theme].force;
  context.lineWidth = 1.15;
  context.stroke();
}

/** Triangles for samples that point up; what has left the square waits at its edge. */
function triangles(/** @type {CanvasRenderingContext2D} */ context, /** @type {Float64Array} */ points, /** @type {number} */ count, /** @type {number} */ radius, /** @type {Theme} */ theme, /** @type {ReturnType<typeof pen>} */ { X, Y }, /** @type {number} */ size) {
  context.beginPath();
  for (let k = 0; k < count; k += 1) {
    const px = X(points[2 * k]);
    const py = Y(points[2 * k + 1]);
    if (!Number.isFinite(px + py)) continue;
    const x = px < 3 ? 3 : px > size - 3 ? size - 3 : px;
    const y = py < 3 ? 3 : py > size - 3 ? size - 3 : py;
    context.moveTo(x, y - 1.15 * radius);
    context.lineTo(x + radius, y + 0.75 * radius);
    context.lineTo(x - radius, y + 0.75 * radius);
    context.closePath();
  }
  context.lineJoin = "round";
  context.lineWidth = 1.7;
  context.strokeStyle = INK[theme].edge;
  context.stroke();
  context.fillStyle = INK[theme].sample;
  context.fill();
}

/** Tails of the chains, from faint to strong in the order in which they were walked. */
function tails(/** @type {CanvasRenderingContext2D} */ context, /** @type {Chains} */ { trail, trailCount, trailLength }, /** @type {Theme} */ theme, /** @type {ReturnType<typeof pen>} */ { X, Y }, /** @type {number} */ most) {
  const parts = Math.min(3, trailLength - 1);
  for (let part = 0; part < parts; part += 1) {
    const from = Math.floor((part * (trailLength - 1)) / parts);
    const to = Math.floor(((part + 1) * (trailLength - 1)) / parts);
    context.beginPath();
    for (let chain = 0; chain < Math.min(most, trailCount); chain += 1) {
      for (let t = from; t <= to; t += 1) {
        const k = 2 * (t * trailCount + chain);
        const [x, y] = [X(trail[k]), Y(trail[k + 1])];
        if (t === from) context.moveTo(x, y);
        else context.lineTo(x, y);
      }
    }
    context.globalAlpha = 0.22 + (0.5 * (part + 1)) / parts;
    context.lineWidth = 1.1;
    context.lineJoin = "round";
    context.strokeStyle = theme === "light" ? "#a86400" : INK.dark.sample;
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** A star of eight points at each mode. */
function stars(/** @type {CanvasRenderingContext2D} */ context, /** @type {Scene} */ { energy, grid, theme }, /** @type {ReturnType<typeof pen>} */ { X, Y }) {
  const found = modes(grid, energy.map((value) => -value), 3);
  context.beginPath();
  for (let n = 0; n < Math.min(40, found.length / 2); n += 1) {
    for (let k = 0; k < 10; k += 1) {
      const angle = (k * Math.PI) / 5 - Math.PI / 2;
      const radius = k % 2 ? 3 : 7.5;
      const px = X(found[2 * n]) + radius * Math.cos(angle);
      const py = Y(found[2 * n + 1]) + radius * Math.sin(angle);
      if (k) context.lineTo(px, py);
      else context.moveTo(px, py);
    }
    context.closePath();
  }
  context.lineWidth = 2.4;
  context.strokeStyle = INK[theme].paper;
  context.stroke();
  context.fillStyle = INK[theme].mode;
  context.fill();
}

/** Add segments to a path. */
function segments(/** @type {CanvasRenderingContext2D} */ context, /** @type {Float64Array} */ ends, /** @type {ReturnType<typeof pen>} */ { X, Y }) {
  for (let k = 0; k + 3 < ends.length; k += 4) {
    context.moveTo(X(ends[k]), Y(ends[k + 1]));
    context.lineTo(X(ends[k + 2]), Y(ends[k + 3]));
  }
}

/** Pieces of lines, each layer in a colour and a dash of its own. */
function partition(/** @type {CanvasRenderingContext2D} */ context, /** @type {Scene} */ { lines, theme }, /** @type {ReturnType<typeof pen>} */ brush) {
  const looks = [[INK[theme].first, 1.1], [INK[theme].later, 1.3]];
  lines.forEach((pieces, layer) => {
    const [colour, width] = looks[Math.min(layer, 1)];
    context.beginPath();
    for (const piece of pieces) segments(context, piece, brush);
    context.strokeStyle = /** @type {string} */ (colour);
    context.lineWidth = /** @type {number} */ (width);
    context.globalAlpha = layer ? 0.75 : 0.6;
    context.setLineDash(layer ? [] : [5, 3]);
    context.stroke();
  });
  context.setLineDash([]);
  context.globalAlpha = 1;
}

/**
 * Make a canvas as large as it is shown; returns a context in CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 */
export function sharp(canvas, width, height) {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/**
 * Draw everything.
 * @param {HTMLCanvasElement} canvas
 * @param {Scene} scene
 * @param {number} size  pixels a side
 */
export function paintPlane(canvas, scene, size) {
  const context = sharp(canvas, size, size);
  const { theme, layers, energy, grid, chains } = scene;
  const brush = pen(context, size);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(fieldImage(scene), 0, 0, size, size);
  if (layers.has("contours")) {
    context.beginPath();
    for (const level of contourLevels(energy)) {
      segments(context, contours(energy, level, grid), brush);
    }
    context.strokeStyle = INK[theme].contour;
    context.lineWidth = 1;
    context.stroke();
  }
  if (layers.has("lines")) partition(context, scene, brush);
  if (layers.has("forces")) forces(context, scene, size);
  if (layers.has("data")) {
    const count = Math.min(scene.data.length / 2, 300);
    brush.discs(scene.data, count, size < 350 ? 1.3 : 1.7, INK[theme].data, INK[theme].halo);
  }
  if (chains && chains.count && layers.has("chains")) {
    if (chains.trailLength > 1) tails(context, chains, theme, brush, size < 350 ? 16 : 32);
    const few = size < 350;
    const count = Math.min(chains.count, few ? 128 : 192);
    triangles(context, chains.points, count, few ? 2.7 : 3.4, theme, brush, size);
  }
  if (layers.has("modes")) stars(context, scene, brush);
}
