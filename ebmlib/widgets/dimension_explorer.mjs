import { announcer, assign, axisControl, follow, format, make } from "./common.mjs";
import { normals, uniforms } from "./random.mjs";

const [INK, SOFT, BLUE, ORANGE, GREEN] = ["#222832", "#59636f", "#0072b2", "#d55e00", "#007e5b"];
const BARS = 40;

/** A chi-square number with d degrees of freedom (Marsaglia and Tsang, for gammas). */
export function chiSquare(dim, uniform, normal) {
  const shape = dim === 1 ? 1.5 : dim / 2;
  const d = shape - 1 / 3;
  for (;;) {
    const x = normal();
    const v = (1 + x / Math.sqrt(9 * d)) ** 3;
    if (v <= 0) continue;
    if (Math.log(uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) {
      return 2 * d * v * (dim === 1 ? uniform() ** 2 : 1);
    }
  }
}

/** log of the gamma function at half of a positive integer. */
export function logGammaHalf(twice) {
  let value = twice % 2 === 0 ? 0 : 0.5 * Math.log(Math.PI);
  for (let k = twice - 2; k > 0; k -= 2) value += Math.log(k / 2);
  return value;
}

/** Density of the distance |x| for x from N(0, sd^2 I) in some dimension. */
export function radiusDensity(radius, dim, sd) {
  const r = radius / sd;
  const log =
    (dim - 1) * Math.log(r) - (r * r) / 2 - (dim / 2 - 1) * Math.LN2 - logGammaHalf(dim);
  return Math.exp(log) / sd;
}

/**
 * The exact laws for the target N(0, I) and the proposal N(0, sd^2 I).
 * Shares are null where no bound, or no variance, exists.
 */
export function laws(dim, sd) {
  const variance = sd * sd;
  return {
    acceptance: sd >= 1 ? sd ** -dim : null,
    share: variance > 0.5 ? (Math.sqrt(2 * variance - 1) / variance) ** dim : null,
    kl: dim * (Math.log(sd) + (1 / variance - 1) / 2),
    tail: 1 - variance,
  };
}

/**
 * Draw n points from the proposal, and weight or reject them. Only the distance from the
 * origin matters for either, and its square is sd^2 times a chi-square number.
 */
export function experiment(dim, sd, n, seed) {
  const uniform = uniforms(seed);
  const normal = normals(uniform);
  const radii = new Float64Array(n);
  const logWeights = new Float64Array(n);
  let [accepted, top] = [0, -Infinity];
  for (let i = 0; i < n; i += 1) {
    const square = variance(sd) * chiSquare(dim, uniform, normal);
    const coin = uniform();
    const excess = (square * (1 / variance(sd) - 1)) / 2;
    radii[i] = Math.sqrt(square);
    logWeights[i] = excess + dim * Math.log(sd);
    if (sd >= 1 && coin < Math.exp(excess)) accepted += 1;
    top = Math.max(top, logWeights[i]);
  }
  let [sum, squares] = [0, 0];
  const weights = logWeights.map((value) => Math.exp(value - top));
  for (const weight of weights) {
    sum += weight;
    squares += weight * weight;
  }
  const size = (sum * sum) / squares;
  return {
    radii,
    weights: weights.map((weight) => weight / sum),
    acceptance: sd >= 1 ? accepted / n : null,
    size,
    largest: 1 / sum,
    logZ: top + Math.log(sum / n),
    error: Math.sqrt(Math.max(0, n / size - 1) / (n - 1)),
  };
}

const variance = (sd) => sd * sd;

/** Axes of one panel on a canvas: where numbers stand, lines, words. */
function panel(context, { left, right, top, bottom, xs, ys }) {
  const x = (value) => left + ((value - xs[0]) / (xs[1] - xs[0])) * (right - left);
  const y = (value) => bottom - ((value - ys[0]) / (ys[1] - ys[0])) * (bottom - top);
  return {
    x,
    y,
    line(points, colour, width, dash = []) {
      context.save();
      context.beginPath();
      context.rect(left, top - 2, right - left, bottom - top + 4);
      context.clip();
      context.beginPath();
      points.forEach(([u, v], i) => (i ? context.lineTo(x(u), y(v)) : context.moveTo(x(u), y(v))));
      Object.assign(context, { strokeStyle: colour, lineWidth: width });
      context.setLineDash(dash);
      context.stroke();
      context.restore();
    },
    frame(title, name, xTicks, yTicks) {
      Object.assign(context, { strokeStyle: SOFT, lineWidth: 1, fillStyle: INK });
      context.beginPath();
      context.moveTo(left, top);
      context.lineTo(left, bottom);
      context.lineTo(right, bottom);
      context.stroke();
      context.textAlign = "left";
      context.fillText(title, 8, top - 9);
      context.textAlign = "right";
      context.fillText(name, right, bottom + 32);
      for (const [value, text] of yTicks) context.fillText(text, left - 5, y(value) + 4);
      context.textAlign = "center";
      for (const value of xTicks) context.fillText(`${value}`, x(value), bottom + 16);
    },
  };
}

/** About three round numbers within a range. */
function ticks([low, high]) {
  const step = [0.5, 1, 2, 5, 10].find((size) => (high - low) / size <= 5) ?? 20;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

/** How far the points lie from the origin: the proposal, the target, the weighted points. */
function paintRadii(context, box, dim, sd, result) {
  const middle = Math.sqrt(dim);
  const low = Math.max(0, Math.min(1, sd) * (middle - 3.5));
  const xs = [low, Math.max(1, sd) * (middle + 3.2)];
  const at = (i) => xs[0] + ((i + 0.5) * (xs[1] - xs[0])) / 200;
  const curve = (spread) =>
    Array.from({ length: 200 }, (_, i) => [at(i), radiusDensity(at(i), dim, spread)]);
  const [target, proposal] = [curve(1), curve(sd)];
  const top = 1.3 * Math.max(...target.map(([, v]) => v), ...proposal.map(([, v]) => v));
  const axes = panel(context, { ...box, xs, ys: [0, top] });
  const width = (xs[1] - xs[0]) / BARS;
  const heights = new Float64Array(BARS);
  result.radii.forEach((radius, i) => {
    const place = Math.floor((radius - xs[0]) / width);
    if (place >= 0 && place < BARS) heights[place] += result.weights[i] / width;
  });
  context.fillStyle = "#9cc9e6";
  heights.forEach((height, i) => {
    const [from, to] = [axes.x(xs[0] + i * width), axes.x(xs[0] + (i + 1) * width)];
    const roof = axes.y(Math.min(height, top));
    context.fillRect(from + 0.5, roof, to - from - 1, axes.y(0) - roof);
  });
  axes.line(proposal, ORANGE, 2, [6, 4]);
  axes.line(target, BLUE, 2.2);
  axes.frame("target (line), proposal (dashes), weights (bars)", "distance from the origin",
    ticks(xs), []);
}

/** The laws against the dimension on a logarithmic scale, and what was measured. */
function paintLaws(context, box, dims, dim, sd, result, n) {
  const bottom = -8;
  const axes = panel(context, { ...box, xs: [0, dims], ys: [bottom, 0.3] });
  const curve = (name) =>
    Array.from({ length: dims }, (_, i) => [i + 1, Math.log10(laws(i + 1, sd)[name])]);
  axes.line([[dim, bottom], [dim, 0.3]], SOFT, 1, [2, 3]);
  axes.line([[0, -Math.log10(n)], [dims, -Math.log10(n)]], SOFT, 1, [8, 5]);
  context.fillStyle = SOFT;
  context.textAlign = "right";
  context.fillText("1/n", box.right, axes.y(-Math.log10(n)) - 5);
  const here = laws(dim, sd);
  const dot = (value, colour, square) => {
    if (!(value > 0) || Math.log10(value) < bottom) return;
    const [x, y] = [axes.x(dim), axes.y(Math.log10(value))];
    context.fillStyle = colour;
    context.beginPath();
    if (square) context.rect(x - 5, y - 5, 10, 10);
    else context.arc(x, y, 5.5, 0, 2 * Math.PI);
    context.fill();
  };
  if (here.share !== null) axes.line(curve("share"), BLUE, 2.2);
  if (here.acceptance !== null) axes.line(curve("acceptance"), GREEN, 2, [6, 4]);
  dot(result.acceptance, GREEN, true);
  dot(result.size / n, BLUE, false);
  axes.frame("effective share (line), acceptance (dashes)", "dimension d",
    ticks([0, dims]), [0, -2, -4, -6, -8].map((v) => [v, v === 0 ? "1" : `10${superscript(v)}`]));
}

const superscript = (value) => `⁻${"⁰¹²³⁴⁵⁶⁷⁸⁹"[-value]}`;

function paint(canvas, spec, { dim, sd, n }, result) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const [width, height] = [canvas.clientWidth || 320, canvas.clientHeight || 460];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  const [left, right, half] = [40, width - 16, height / 2];
  paintRadii(context, { left, right, top: 26, bottom: half - 40 }, dim, sd, result);
  paintLaws(context, { left, right, top: half + 26, bottom: height - 40 }, spec.dims, dim, sd,
    result, n);
}

/** A share as a percentage, or as a power of ten when that is too small to read. */
function share(value) {
  if (value === null) return "none";
  if (value === 0) return "0";
  return value >= 1e-4 ? `${format(100 * value, 3)} %` : format(value, 3);
}

/** What the table says: each exact law beside what this draw measured. */
function rowsOf(here, result, n) {
  const points = here.kl < 40 ? format(Math.exp(here.kl), 3) : `e${format(here.kl, 3)}`;
  return [
    ["acceptance, exact", here.acceptance === null ? "no bound exists" : share(here.acceptance)],
    ["acceptance, measured", share(result.acceptance)],
    ["effective share, exact", here.share === null ? "no variance exists" : share(here.share)],
    ["effective share, measured", share(result.size / n)],
    ["largest weight", share(result.largest)],
    ["log Z: error ± claimed", `${result.logZ.toFixed(2).replace("-", "−")} ± ${result.error.toFixed(2)}`],
    ["fewest points, about exp(KL)", points],
  ];
}

/** The table under the controls. */
function resultTable() {
  const body = make("tbody");
  return {
    root: make("table", { className: "ebm-readout" }, [body]),
    show(rows) {
      body.replaceChildren(
        ...rows.map(([name, text]) =>
          make("tr", {}, [make("th", { scope: "row" }, [name]), make("td", {}, [text])]),
        ),
      );
    },
  };
}

/** @param {{model: import("./common.mjs").Model, el: HTMLElement}} view */
function render({ model, el }) {
  const spec = model.get("spec");
  const values = {
    dim: Array.from({ length: spec.dims }, (_, i) => i + 1),
    sd: spec.sds,
    n: spec.sizes,
    seed: Array.from({ length: spec.seeds }, (_, i) => i + 1),
  };
  const words = { dim: "dimension d", sd: "spread σ of the proposal", n: "points n", seed: "draw" };
  const controls = Object.entries(words).map(([name, text]) => {
    const labels = values[name].map((value) => value.toLocaleString("en"));
    const kind = name === "n" ? "choice" : "slider";
    const control = axisControl({ name: text, labels, kind }, (i) =>
      assign(model, name, values[name][i]));
    const show = () => control.show(values[name].indexOf(model.get(name)), labels);
    return { root: control.root, show };
  });
  const style = "display: block; width: 100%; height: 460px; border-radius: 6px";
  const canvas = make("canvas", { role: "img", style });
  const table = resultTable();
  const voice = announcer();
  const caption = make("p", { className: "ebm-caption" }, [model.get("caption")]);
  caption.hidden = !model.get("caption");
  const board = make("div", { className: "ebm-board" }, [canvas]);
  const roots = controls.map(({ root }) => root);
  const tools = make("div", { className: "ebm-tools" }, [...roots, table.root]);
  el.classList.add("ebm", "ebm-dimension");
  el.append(make("div", { className: "ebm-plane" }, [board, tools]), caption, voice.root);

  let [now, result] = [null, null];
  const redraw = () => paint(canvas, spec, now, result);
  const show = () => {
    now = Object.fromEntries(Object.keys(words).map((name) => [name, model.get(name)]));
    result = experiment(now.dim, now.sd, now.n, now.seed);
    const rows = rowsOf(laws(now.dim, now.sd), result, now.n);
    controls.forEach((control) => control.show());
    table.show(rows);
    const state = `dimension ${now.dim}, spread ${now.sd}, ${now.n} points: ` +
      rows.map((row) => row.join(" ")).join("; ");
    canvas.setAttribute("aria-label", `${model.get("alt")} (${state})`);
    voice.say(`effective share ${rows[3][1]}, acceptance ${rows[1][1]}`);
    redraw();
  };
  show();
  voice.stop();
  const watch = new ResizeObserver(redraw);
  watch.observe(canvas);
  const undo = follow(model, Object.keys(words), show);
  return () => {
    undo();
    watch.disconnect();
    voice.stop();
  };
}

export default { render };
