import { format } from "../../common.mjs";
import { INK } from "./colour.mjs";
import { sharp } from "./plane.mjs";

/**
 * Small line charts on canvas, drawn many times a second.
 *
 * @typedef {object} Line
 * @property {ArrayLike<number>} x
 * @property {ArrayLike<number>} y
 * @property {number} length
 * @property {string} colour
 * @property {number[]} dash
 *
 * @typedef {object} Chart
 * @property {Line[]} lines
 * @property {{value: number, label: string} | null} floor  a level that cannot be passed
 * @property {boolean} log     logarithmic scale, for what is positive
 * @property {number | null} cursor  the step on show, when it is not the last one
 * @property {import("./colour.mjs").Theme} theme
 */

/** Ends of the scale: most of the values, so that one wild one does not hide the rest. */
function extent(/** @type {Chart} */ { lines, floor, log }) {
  /** @type {number[]} */
  const values = [];
  for (const { y, length } of lines) {
    const every = Math.max(1, Math.floor(length / 200));
    for (let i = length > 30 ? 2 : 0; i < length; i += every) {
      if (Number.isFinite(y[i]) && (!log || y[i] > 0)) values.push(y[i]);
    }
    if (length && Number.isFinite(y[length - 1]) && (!log || y[length - 1] > 0)) values.push(y[length - 1]);
  }
  if (!values.length && !floor) return [log ? 0.1 : 0, 1];
  if (!values.length && floor) values.push(floor.value - 1, floor.value);
  values.sort((a, b) => a - b);
  let low = values[Math.floor(0.01 * (values.length - 1))];
  let high = values[Math.ceil(0.99 * (values.length - 1))];
  if (floor && Number.isFinite(floor.value)) {
    low = Math.min(low, floor.value);
    high = Math.max(high, floor.value);
  }
  if (log) {
    low = Math.log10(low);
    high = Math.log10(high);
  }
  const room = Math.max(0.08 * (high - low), log ? 0.08 : 1e-3 * Math.max(1, Math.abs(high)));
  return log ? [10 ** (low - room), 10 ** (high + room)] : [low - room, high + (floor ? 2.2 : 1) * room];
}

/** Two to four round marks between the ends of a scale. */
function marks(/** @type {number} */ low, /** @type {number} */ high, /** @type {boolean} */ log) {
  if (log) {
    const found = [];
    const span = Math.log10(high / low);
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e += 1) {
      for (const n of span < 1.2 ? [1, 2, 5] : span < 2.2 ? [1, 3] : [1]) {
        const value = n * 10 ** e;
        if (value >= low && value <= high) found.push(value);
      }
    }
    const every = Math.ceil(found.length / 4);
    return found.filter((_, i) => i % every === 0);
  }
  const rough = (high - low) / 3;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * ([1, 2, 5, 10].find((n) => n * unit >= rough) ?? 10);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k += 1) found.push(k * step);
  return found;
}

/** A mark without needless digits. */
const short = (/** @type {number} */ value) => {
  const text = format(value, 3);
  return text.includes(".") && !text.includes("e") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
};

/**
 * Draw one chart.
 * @param {HTMLCanvasElement} canvas
 * @param {Chart} chart
 * @param {number} width
 * @param {number} height
 */
export function paintChart(canvas, chart, width, height) {
  const context = sharp(canvas, width, height);
  const colours = INK[chart.theme];
  const [left, right, top, bottom] = [38, width - 6, 6, height - 17];
  const [low, high] = extent(chart);
  const last = chart.lines.reduce((most, { x, length }) => Math.max(most, length ? x[length - 1] : 0), 0);
  const end = Math.max(10, last, chart.cursor ?? 0);
  const X = (/** @type {number} */ x) => left + (x / end) * (right - left);
  const Y = (/** @type {number} */ y) => {
    const share = chart.log ? Math.log(y / low) / Math.log(high / low) : (y - low) / (high - low);
    return bottom - share * (bottom - top);
  };
  context.clearRect(0, 0, width, height);
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.lineWidth = 1;
  const empty = chart.lines.every(({ length }) => !length);
  for (const mark of empty ? [] : marks(low, high, chart.log)) {
    const y = Math.round(Y(mark)) + 0.5;
    context.strokeStyle = colours.line;
    context.globalAlpha = 0.7;
    context.beginPath();
    context.moveTo(left, y);
    context.lineTo(right, y);
    context.stroke();
    context.globalAlpha = 1;
    context.fillStyle = colours.soft;
    context.textAlign = "right";
    context.fillText(short(mark), left - 5, y);
  }
  context.fillStyle = colours.soft;
  context.textAlign = "left";
  if (!empty) context.fillText("0", left, height - 7);
  context.textAlign = "right";
  if (!empty) context.fillText(end.toLocaleString("en"), right, height - 7);
  context.save();
  context.beginPath();
  context.rect(left, top - 3, right - left + 4, bottom - top + 5);
  context.clip();
  if (chart.floor && Number.isFinite(chart.floor.value) && (!chart.log || chart.floor.value > 0)) {
    const y = Y(chart.floor.value);
    context.setLineDash([2, 3]);
    context.strokeStyle = colours.ink;
    context.beginPath();
    context.moveTo(left, y);
    context.lineTo(right, y);
    context.stroke();
    context.setLineDash([]);
    if (height > 120) {
      context.fillStyle = colours.ink;
      context.textAlign = "right";
      context.fillText(chart.floor.label, right, y + (y - top > 16 ? -8 : 9));
    }
  }
  for (const { x, y, length, colour, dash } of chart.lines) {
    context.beginPath();
    let down = false;
    const every = Math.max(1, Math.floor(length / (2 * width)));
    for (let i = 0; i < length; i += i + every < length || i === length - 1 ? every : length - 1 - i) {
      if (!Number.isFinite(y[i]) || (chart.log && y[i] <= 0)) {
        down = false;
        continue;
      }
      if (down) context.lineTo(X(x[i]), Y(y[i]));
      else context.moveTo(X(x[i]), Y(y[i]));
      down = true;
    }
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.strokeStyle = colour;
    context.setLineDash(dash);
    context.stroke();
    context.setLineDash([]);
    if (length && Number.isFinite(y[length - 1])) {
      context.beginPath();
      context.arc(X(x[length - 1]), Y(y[length - 1]), 2.8, 0, 6.2832);
      context.fillStyle = colour;
      context.fill();
    }
  }
  if (chart.cursor !== null) {
    context.strokeStyle = colours.ink;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(X(chart.cursor), top);
    context.lineTo(X(chart.cursor), bottom);
    context.stroke();
  }
  context.restore();
}
