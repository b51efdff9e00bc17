import { announcer, assign, axisControl, decodeArray, follow, format, make } from "./common.mjs";
import { uniforms } from "./random.mjs";

/** The bumps of the energy: Gaussians with centres from end to end, one spacing wide. */
export function bumpsOf({ box: [low, high], n_bumps: count }) {
  const width = (high - low) / (count - 1);
  return { width, centres: Float64Array.from({ length: count }, (_, k) => low + k * width) };
}

/** Values of all bumps at some points, one row a point. */
export function features(points, { centres, width }) {
  const rows = new Float64Array(points.length * centres.length);
  points.forEach((x, i) => {
    centres.forEach((centre, k) => {
      rows[i * centres.length + k] = Math.exp(-0.5 * ((x - centre) / width) ** 2);
    });
  });
  return rows;
}

/** Weighted mean of the rows. */
export function meanRow(rows, weights, count) {
  const mean = new Float64Array(count);
  weights.forEach((weight, i) => {
    for (let k = 0; k < count; k += 1) mean[k] += weight * rows[i * count + k];
  });
  return mean;
}

/** Product of the rows with a vector: f at every point. */
export function rowsTimes(rows, vector) {
  const count = vector.length;
  return Float64Array.from({ length: rows.length / count }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < count; k += 1) sum += rows[i * count + k] * vector[k];
    return sum;
  });
}

/** Masses of the cells, log Z and log density of p = exp(f) / Z on cells of a width. */
export function densityOf(f, cell) {
  const top = f.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = f.reduce((total, value) => total + Math.exp(value - top), 0);
  const logSum = top + Math.log(sum);
  return {
    logZ: logSum + Math.log(cell),
    mass: f.map((value) => Math.exp(value - logSum)),
    logDensity: f.map((value) => value - logSum - Math.log(cell)),
  };
}

/** Numbers of cells drawn from their masses, by inverting the cumulative sum. */
export function drawCells(mass, count, random) {
  const cumulative = new Float64Array(mass.length);
  mass.reduce((sum, value, i) => (cumulative[i] = sum + value), 0);
  return Array.from({ length: count }, () => {
    const u = random() * cumulative[mass.length - 1];
    let [low, high] = [0, mass.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cumulative[middle] > u) high = middle;
      else low = middle + 1;
    }
    return low;
  });
}

/** What does not change while the reader moves the controls. */
export function problemOf(spec) {
  const { box: [low, high], bins } = spec;
  const cell = (high - low) / bins;
  const points = Float64Array.from({ length: bins }, (_, i) => low + (i + 0.5) * cell);
  const bumps = bumpsOf(spec);
  const data = decodeArray(spec.data);
  const weights = new Float64Array(data.length).fill(1 / data.length);
  const dataMean = meanRow(features(data, bumps), weights, spec.n_bumps);
  return {
    cell, points, data, dataMean, count: spec.n_bumps,
    onGrid: features(points, bumps), truth: decodeArray(spec.truth), seed: spec.seed,
  };
}

/** Mean of the bumps over the negative points, and the cells drawn, if any. */
function negativeMean({ onGrid, count }, mass, samples, random) {
  if (samples === null) return { mean: meanRow(onGrid, mass, count), drawn: [] };
  if (samples === 0) return { mean: new Float64Array(count), drawn: [] };
  const drawn = drawCells(mass, samples, random);
  const share = new Float64Array(mass.length);
  for (const i of drawn) share[i] += 1 / samples;
  return { mean: meanRow(onGrid, share, count), drawn };
}

/**
 * Train from the flat energy; an odd number of half updates ends between push and pull.
 * Both forces of an update are those of the model before it.
 * @param {ReturnType<typeof problemOf>} problem
 * @param {{samples: number | null, rate: number, halves: number}} settings
 *   samples: negative points an update; null: the exact mean, 0: none.
 */
export function train(problem, { samples, rate, halves }) {
  const { onGrid, dataMean, count, cell, truth } = problem;
  const random = uniforms(problem.seed);
  const theta = new Float64Array(count);
  let before = theta.slice();
  let negative = null;
  for (let half = 0; ; half += 1) {
    if (half % 2 === 0) {
      const { mass } = densityOf(rowsTimes(onGrid, theta), cell);
      negative = negativeMean(problem, mass, samples, random);
    }
    if (half === halves) break;
    before = theta.slice();
    const [force, sign] = half % 2 === 0 ? [dataMean, 1] : [negative.mean, -1];
    for (let k = 0; k < count; k += 1) theta[k] += sign * rate * force[k];
  }
  const f = rowsTimes(onGrid, theta);
  const { logZ, mass, logDensity } = densityOf(f, cell);
  const onData = dataMean.reduce((sum, value, k) => sum + value * theta[k], 0);
  return {
    theta, logZ, logDensity, drawn: negative.drawn,
    energy: f.map((value) => -value),
    energyBefore: rowsTimes(onGrid, before).map((value) => -value),
    push: rowsTimes(onGrid, dataMean).map((value) => -rate * value),
    pull: rowsTimes(onGrid, negative.mean).map((value) => rate * value),
    dataEnergy: -onData,
    modelEnergy: -f.reduce((sum, value, i) => sum + mass[i] * value, 0),
    logLikelihood: onData - logZ,
    kl: truth.reduce((sum, log, i) =>
      log === -Infinity ? sum : sum + Math.exp(log) * cell * (log - logDensity[i]), 0),
  };
}

const [BLUE, ORANGE, INK, SOFT] = ["#0072b2", "#d55e00", "#222832", "#59636f"];

/** One strip of the picture: its place, its scale, and what draws in it. */
function strip(context, { left, right, top, bottom, box, range: [low, high] }) {
  const x = (value) => left + ((value - box[0]) / (box[1] - box[0])) * (right - left);
  const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - top);
  const clip = (draw) => {
    context.save();
    context.beginPath();
    context.rect(left, top, right - left, bottom - top);
    context.clip();
    draw();
    context.restore();
  };
  const trace = (points, values) => {
    context.beginPath();
    values.forEach((value, i) => context.lineTo(x(points[i]), y(value)));
  };
  return {
    x, y, clip,
    line(points, values, colour, width = 2, dash = []) {
      clip(() => {
        trace(points, values);
        context.strokeStyle = colour;
        context.lineWidth = width;
        context.setLineDash(dash);
        context.stroke();
      });
    },
    area(points, values, colour) {
      clip(() => {
        trace(points, values);
        context.lineTo(x(points[points.length - 1]), y(0));
        context.lineTo(x(points[0]), y(0));
        context.globalAlpha = 0.3;
        context.fillStyle = colour;
        context.fill();
      });
    },
    frame(title, marks) {
      context.strokeStyle = "#b4bac2";
      context.lineWidth = 1;
      context.strokeRect(left, top, right - left, bottom - top);
      context.fillStyle = INK;
      context.textAlign = "left";
      context.fillText(title, left, top - 6);
      context.textAlign = "right";
      context.fillStyle = SOFT;
      for (const mark of marks) context.fillText(format(mark, 3), left - 4, y(mark) + 4);
    },
  };
}

/** Counts of the data in equal bins, as a density. */
export function histogram(data, [low, high], bins) {
  const heights = new Float64Array(bins);
  const width = (high - low) / bins;
  for (const x of data) {
    heights[Math.min(bins - 1, Math.floor((x - low) / width))] += 1 / (data.length * width);
  }
  return heights;
}

const extent = (values) => [
  values.reduce((a, b) => Math.min(a, b), Infinity),
  values.reduce((a, b) => Math.max(a, b), -Infinity),
];

/** The three strips: energy, densities, forces. */
function paint(canvas, problem, box, result, bars) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const [width, height] = [canvas.clientWidth || 320, canvas.clientHeight || 430];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  const [left, right, gap] = [44, width - 8, 26];
  const part = (height - 3 * gap - 22) / 3;
  const place = (i, range) => strip(context, {
    left, right, top: gap + i * (part + gap), bottom: gap + i * (part + gap) + part, box, range,
  });
  const { points } = problem;

  const [low, high] = extent([...result.energy, ...result.energyBefore]);
  const span = Math.max(high - low, 1);
  const energy = place(0, [low - 0.1 * span, high + 0.1 * span]);
  energy.line(points, result.energyBefore, SOFT, 1.5, [5, 4]);
  energy.line(points, result.energy, INK, 2.2);
  energy.frame("energy E; dashed: before this half step", [low, high]);

  const density = result.logDensity.map(Math.exp);
  const top = 1.3 * Math.max(extent(bars)[1], Math.exp(extent(problem.truth)[1]));
  const densities = place(1, [0, top]);
  const bar = (box[1] - box[0]) / bars.length;
  context.fillStyle = "#9cc9e6";
  bars.forEach((value, i) => {
    const [x0, x1] = [densities.x(box[0] + i * bar), densities.x(box[0] + (i + 1) * bar)];
    context.fillRect(x0 + 0.5, densities.y(value), x1 - x0 - 1, densities.y(0) - densities.y(value));
  });
  densities.line(points, problem.truth.map(Math.exp), INK, 1.2, [2, 3]);
  densities.line(points, density, ORANGE, 2.2);
  context.strokeStyle = ORANGE;
  context.lineWidth = 1.5;
  for (const i of result.drawn) {
    context.beginPath();
    context.moveTo(densities.x(points[i]), densities.y(0));
    context.lineTo(densities.x(points[i]), densities.y(0) - 10);
    context.stroke();
  }
  densities.frame("data (bars), model (line), truth (dots)", [0, Math.floor(top)]);

  const net = result.push.map((value, i) => value + result.pull[i]);
  const size = Math.max(extent(result.pull)[1], -extent(result.push)[0], 1e-9);
  const forces = place(2, [-1.15 * size, 1.15 * size]);
  forces.area(points, result.push, BLUE);
  forces.area(points, result.pull, ORANGE);
  forces.line(points, result.push, BLUE, 1.2);
  forces.line(points, result.pull, ORANGE, 1.2);
  forces.line(points, net, INK, 2.2);
  forces.frame("push (blue), pull (orange), sum (black)", [-size, 0, size]);
  for (const value of [box[0], (box[0] + box[1]) / 2, box[1]]) {
    context.textAlign = value === box[0] ? "left" : value === box[1] ? "right" : "center";
    context.fillText(format(value, 2), forces.x(value), height - 5);
  }
}

/** A slider over a range of numbers, with its value in words. */
function rangeControl(name, attributes, change) {
  const value = make("span", { className: "ebm-value" });
  const input = make("input", { type: "range", ...attributes });
  input.addEventListener("input", () => change(Number(input.value)));
  const head = make("span", { className: "ebm-name" }, [name, value]);
  return {
    root: make("label", { className: "ebm-control ebm-slider" }, [head, input]),
    show(position, text) {
      input.value = position;
      value.textContent = text;
      input.setAttribute("aria-valuetext", `${name} ${text}`);
    },
  };
}

/** The table of exact numbers under the controls. */
function numbers() {
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

const CANVAS = "display: block; width: 100%; height: 440px; border-radius: 6px";
const BUTTON = "min-height: 44px; width: 100%; border: 0; border-radius: 6px; font: inherit; " +
  "font-weight: 600; background: var(--ebm-accent); color: var(--ebm-on-accent); cursor: pointer";

/** @param {{model: import("./common.mjs").Model, el: HTMLElement}} view */
function render({ model, el }) {
  const spec = model.get("spec");
  const problem = problemOf(spec);
  const bars = histogram(problem.data, spec.box, 40);
  const names = Object.keys(spec.sources);
  const labels = names.map((name) => spec.sources[name].label);
  const canvas = make("canvas", { role: "img", style: CANVAS });
  const last = 2 * spec.max_updates;

  const next = make("button", { type: "button", style: BUTTON });
  next.addEventListener("click", () => {
    const half = model.get("half");
    assign(model, "half", half >= last ? 0 : half + 1);
  });
  const updates = rangeControl("update", { min: 0, max: spec.max_updates, step: 1 }, (value) =>
    assign(model, "half", 2 * value));
  const rate = rangeControl(
    "learning rate",
    { min: Math.log10(spec.rates[0]), max: Math.log10(spec.rates[1]), step: 0.05 },
    (value) => assign(model, "rate", Number((10 ** value).toPrecision(3))),
  );
  const source = axisControl(
    { name: "negative phase", labels, kind: "choice" },
    (position) => assign(model, "negatives", names[position]),
  );
  const table = numbers();
  const voice = announcer();
  const caption = make("p", { className: "ebm-caption" }, [model.get("caption")]);
  caption.hidden = !model.get("caption");
  const board = make("div", { className: "ebm-board" }, [canvas]);
  const tools = make("div", { className: "ebm-tools" }, [
    next, updates.root, source.root, rate.root, table.root,
  ]);
  el.classList.add("ebm", "ebm-phases");
  el.append(make("div", { className: "ebm-plane" }, [board, tools]), caption, voice.root);

  let result = null;
  const redraw = () => paint(canvas, problem, spec.box, result, bars);
  const show = () => {
    const [half, name] = [model.get("half"), model.get("negatives")];
    const { samples, label } = spec.sources[name];
    result = train(problem, { samples, rate: model.get("rate"), halves: half });
    const pushed = half % 2 === 1;
    next.textContent = half >= last ? "Start again" : pushed ? "Pull up ▲" : "Push down ▼";
    updates.show(Math.floor(half / 2), pushed ? `${(half - 1) / 2}, pushed` : `${half / 2}`);
    rate.show(Math.log10(model.get("rate")), format(model.get("rate"), 3));
    source.show(names.indexOf(name), labels);
    const [down, up] = [result.dataEnergy, result.modelEnergy];
    table.show([
      ["mean energy, data", format(down, 4)],
      ["mean energy, model", format(up, 4)],
      ["their difference", format(down - up, 4)],
      ["peak of the density", format(Math.exp(extent(result.logDensity)[1]), 3)],
      ["log Z", format(result.logZ, 5)],
      ["log-likelihood", format(result.logLikelihood, 4)],
      ["KL(true ‖ model)", format(result.kl, 4)],
    ]);
    const state = `${Math.floor(half / 2)} updates${pushed ? " and a push" : ""}, ` +
      `negative phase ${label}, KL ${format(result.kl, 3)} nats`;
    canvas.setAttribute("aria-label", `${model.get("alt")} (${state})`);
    voice.say(state);
    redraw();
  };
  show();
  voice.stop();
  const watch = new ResizeObserver(redraw);
  watch.observe(canvas);
  const undo = follow(model, ["half", "negatives", "rate"], show);
  return () => {
    undo();
    watch.disconnect();
    voice.stop();
  };
}

export default { render };
