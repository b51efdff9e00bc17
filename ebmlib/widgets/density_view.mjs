import { format, make } from "./common.mjs";
import { clipLine, layerInputs, zeroLines } from "./density_math.mjs";

/**
 * Okabe-Ito colours and a dash pattern for each layer: colour is never alone. The first
 * layer is drawn in whatever stands out from the field.
 */
export const LAYER_STYLES = [
  { colour: null, dash: [] },
  { colour: "#e69f00", dash: [7, 4] },
  { colour: "#56b4e9", dash: [2, 4] },
  { colour: "#cc79a7", dash: [10, 3, 2, 3] },
];
const CONTOUR_BINS = 120;

/** 256 colours as red, green, blue bytes. @param {string} hex  six digits a colour */
export function decodePalette(hex) {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) =>
    parseInt(hex.slice(2 * i, 2 * i + 2), 16),
  );
}

/** Lowest and highest finite value; symmetric about zero on request. */
export function valueRange(values, symmetric) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value === -Infinity) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!symmetric) return [low, high];
  const size = Math.max(Math.abs(low), Math.abs(high));
  return [-size, size];
}

/** Paint a field on the grid, one pixel a cell, first coordinate to the right. */
export function paintField(canvas, values, bins, [low, high], palette) {
  canvas.width = bins;
  canvas.height = bins;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(bins, bins);
  const scale = high > low ? 255 / (high - low) : 0;
  for (let k = 0; k < values.length; k += 1) {
    const level = Math.min(255, Math.max(0, Math.round((values[k] - low) * scale)));
    const place = 4 * ((bins - 1 - (k % bins)) * bins + Math.floor(k / bins));
    pixels.data.set(palette.subarray(3 * level, 3 * level + 3), place);
    pixels.data[place + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

/** The colour bar: what is shown, from where to where. */
export function colourBar() {
  const [low, high] = [make("span"), make("span")];
  const ramp = make("span", { className: "ebm-ramp" });
  const name = make("span", { className: "ebm-bar-name" });
  const root = make("div", { className: "ebm-bar" }, [low, ramp, high, name]);
  return {
    root,
    show(text, range, palette, below) {
      const stops = Array.from({ length: 17 }, (_, i) => {
        const k = 3 * Math.round((i * 255) / 16);
        return `rgb(${palette[k]} ${palette[k + 1]} ${palette[k + 2]})`;
      });
      ramp.style.background = `linear-gradient(90deg, ${stops.join(",")})`;
      low.textContent = (below ? "≤ " : "") + format(range[0], 3);
      high.textContent = format(range[1], 3);
      name.textContent = text;
    },
  };
}

/** The key to the lines: a short stroke in each layer's style. */
export function layerKey() {
  const root = make("div", { className: "ebm-key" });
  return {
    root,
    show(count, ink) {
      const entries = LAYER_STYLES.slice(0, count).map(({ colour, dash }, i) => {
        const entry = make("span");
        entry.innerHTML =
          '<svg viewBox="0 0 30 10" aria-hidden="true">' +
          `<rect width="30" height="10" rx="2" style="fill:${ink === "#ffffff" ? "#444" : "#ddd"}"/>` +
          `<path d="M0 5h30" stroke="${colour ?? ink}" stroke-width="2" stroke-dasharray="${dash}"/></svg>`;
        entry.append(`layer ${i + 1}`);
        return entry;
      });
      root.replaceChildren(...entries);
      root.hidden = count === 0;
    },
  };
}

/** Polylines on which some neuron of a layer has input zero: exact for the first layer. */
export function boundaryLines(network, layer, box) {
  if (layer > 0) {
    const fields = layerInputs(network, layer, box, CONTOUR_BINS);
    return fields.flatMap((field) => zeroLines(field, box, CONTOUR_BINS));
  }
  const { weight, bias, rows } = network.layers[0];
  const lines = Array.from({ length: rows }, (_, row) =>
    clipLine(weight[2 * row], weight[2 * row + 1], bias[row], box),
  );
  return lines.filter((line) => line);
}

/** Coordinates of the plane to pixels of a canvas of `size` pixels. */
export function projector([low, high], size) {
  const scale = size / (high - low);
  return (x, y) => [(x - low) * scale, (high - y) * scale];
}

function strokeLines(context, at, lines, { colour, dash }, ratio, ink) {
  context.beginPath();
  for (const line of lines) {
    context.moveTo(...at(line[0], line[1]));
    for (let k = 2; k < line.length; k += 2) context.lineTo(...at(line[k], line[k + 1]));
  }
  context.lineWidth = 1.1 * ratio;
  context.strokeStyle = colour ?? ink;
  context.setLineDash(dash.map((length) => length * ratio));
  context.globalAlpha = 0.85;
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
}

function drawPoints(context, at, data, ratio) {
  context.fillStyle = "#fff";
  context.strokeStyle = "#000";
  context.lineWidth = 0.6 * ratio;
  for (let k = 0; k < data.length; k += 2) {
    context.beginPath();
    context.arc(...at(data[k], data[k + 1]), 1.6 * ratio, 0, 7);
    context.fill();
    context.stroke();
  }
}

/** The probe: a cross in a ring, and an arrow towards higher density. */
export function drawProbe(context, at, [x, y], score, ratio) {
  const [px, py] = at(x, y);
  const size = Math.hypot(...score);
  const [ux, uy] = size > 0 ? [score[0] / size, -score[1] / size] : [0, 0];
  const tip = [px + 34 * ratio * ux, py + 34 * ratio * uy];
  for (const [colour, width] of [["#000", 4.5], ["#fff", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width * ratio;
    context.lineCap = "round";
    context.beginPath();
    context.arc(px, py, 8 * ratio, 0, 7);
    for (const [dx, dy] of [[1, 0], [0, 1]]) {
      context.moveTo(px - 3 * ratio * dx, py - 3 * ratio * dy);
      context.lineTo(px + 3 * ratio * dx, py + 3 * ratio * dy);
    }
    if (size > 0) {
      context.moveTo(px + 9 * ratio * ux, py + 9 * ratio * uy);
      context.lineTo(...tip);
      for (const side of [1, -1]) {
        context.moveTo(...tip);
        context.lineTo(
          tip[0] - 6 * ratio * (ux - 0.7 * side * uy),
          tip[1] - 6 * ratio * (uy + 0.7 * side * ux),
        );
      }
    }
    context.stroke();
  }
}

/**
 * Draw lines, points and probe over the field.
 * @param {HTMLCanvasElement} canvas
 * @param {{box: [number, number], boundaries: number[][][], data: Float64Array | null,
 *          probe: [number, number], score: [number, number], ink: string}} scene
 */
export function paintOverlay(canvas, { box, boundaries, data, probe, score, ink }) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const size = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.width = size;
  canvas.height = size;
  const context = canvas.getContext("2d");
  const at = projector(box, size);
  boundaries.forEach((lines, layer) => {
    strokeLines(context, at, lines, LAYER_STYLES[layer % LAYER_STYLES.length], ratio, ink);
  });
  if (data) drawPoints(context, at, data, ratio);
  drawProbe(context, at, probe, score, ratio);
}
