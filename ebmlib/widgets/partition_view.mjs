import { make } from "./common.mjs";
import { LAYER_STYLES, drawProbe, projector } from "./density_view.mjs";
import { boundaryNeurons, holds, polygonArea } from "./partition_math.mjs";

const OUTLINE = "#d55e00";

/** Layer of a neuron by its number, from the layers' sizes. */
function layerOf(neuron, sizes) {
  let layer = 0;
  for (let rest = neuron; rest >= sizes[layer]; layer += 1) rest -= sizes[layer];
  return layer;
}

/** Add a polygon to the path. */
function trace(context, at, { points }) {
  context.moveTo(...at(points[0], points[1]));
  for (let k = 2; k < points.length; k += 2) context.lineTo(...at(points[k], points[k + 1]));
  context.closePath();
}

/** Stroke the edges of regions whose owner passes, each from one of its two sides. */
function strokeEdges(context, at, regions, passes, style, dash = []) {
  context.beginPath();
  for (const { points, owners } of regions) {
    owners.forEach((owner, i) => {
      const j = (2 * i + 2) % points.length;
      const [x, y, u, v] = [points[2 * i], points[2 * i + 1], points[j], points[j + 1]];
      if (x > u || (x === u && y > v) || !passes(owner)) return;
      context.moveTo(...at(x, y));
      context.lineTo(...at(u, v));
    });
  }
  Object.assign(context, style);
  context.setLineDash(dash);
  context.stroke();
  context.setLineDash([]);
}

/** Values of the regions for the colours: what is asked, from where to where. */
export function regionValues(fill, regions) {
  if (fill === "active") {
    const values = regions.map(({ active }) => active.filter(Boolean).length);
    return { values, range: [0, regions[0].active.length] };
  }
  const values = regions.map((region) => -Math.log10(polygonArea(region)));
  return { values, range: [0, 5] }; // the last colour is also that of anything finer
}

/** Colour each region by its value. */
export function paintRegions(canvas, box, regions, values, [low, high], palette) {
  const size = 480;
  canvas.width = size;
  canvas.height = size;
  const context = canvas.getContext("2d");
  const at = projector(box, size);
  context.lineWidth = 1;
  regions.forEach((region, i) => {
    const level = Math.round((255 * (values[i] - low)) / (high - low));
    const k = 3 * Math.min(255, Math.max(0, level));
    context.fillStyle = `rgb(${palette[k]} ${palette[k + 1]} ${palette[k + 2]})`;
    context.strokeStyle = context.fillStyle;
    context.beginPath();
    trace(context, at, region);
    context.fill();
    context.stroke(); // closes the hair between neighbours
  });
}

/** Centre of the local Gaussian: a full diamond inside the region, a hollow one outside. */
function drawCentre(context, at, [x, y], probe, region, ratio) {
  const [px, py] = at(x, y);
  const size = 8 * ratio;
  context.lineCap = "butt";
  for (const [colour, width] of [["#000", 4], ["#fff", 1.8]]) {
    context.strokeStyle = colour;
    context.lineWidth = width * ratio;
    context.setLineDash([5 * ratio, 4 * ratio]);
    context.beginPath();
    context.moveTo(...at(...probe));
    context.lineTo(px, py);
    context.stroke();
    context.setLineDash([]);
    context.beginPath();
    context.moveTo(px, py - size);
    context.lineTo(px + size, py);
    context.lineTo(px, py + size);
    context.lineTo(px - size, py);
    context.closePath();
    context.stroke();
  }
  if (holds(region, x, y)) {
    context.fillStyle = "#fff";
    context.fill();
  }
}

/**
 * Draw the lines, the probe's region, the lines of the neurons that bound it, the probe.
 * @param {HTMLCanvasElement} canvas
 * @param {{box: [number, number], regions: object[], region: object, sizes: number[],
 *   probe: [number, number], score: [number, number], centre: [number, number] | null}} scene
 */
export function paintPartition(canvas, { box, regions, region, sizes, probe, score, centre }) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const size = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.width = size;
  canvas.height = size;
  const context = canvas.getContext("2d");
  const at = projector(box, size);
  const bounding = new Set(boundaryNeurons(region));
  const look = (layer) => LAYER_STYLES[layer % LAYER_STYLES.length];
  sizes.forEach((_, layer) => {
    const passes = (owner) => owner >= 0 && layerOf(owner, sizes) === layer;
    const strokeStyle = look(layer).colour ?? "#ffffff";
    const dash = look(layer).dash.map((length) => length * ratio);
    strokeEdges(context, at, regions, passes, { strokeStyle, lineWidth: 0.9 * ratio }, dash);
  });
  const bounds = (owner) => bounding.has(owner);
  strokeEdges(context, at, regions, bounds, { strokeStyle: "#000", lineWidth: 4.5 * ratio });
  sizes.forEach((_, layer) => {
    const passes = (owner) => bounds(owner) && layerOf(owner, sizes) === layer;
    const strokeStyle = look(layer).colour ?? "#ffffff";
    strokeEdges(context, at, regions, passes, { strokeStyle, lineWidth: 2.2 * ratio });
  });
  for (const [strokeStyle, width] of [["#000", 6], [OUTLINE, 3.5]]) {
    context.beginPath();
    trace(context, at, region);
    Object.assign(context, { strokeStyle, lineWidth: width * ratio, lineJoin: "round" });
    context.stroke();
  }
  if (centre) drawCentre(context, at, centre, probe, region, ratio);
  drawProbe(context, at, probe, score, ratio);
}

/**
 * A strip of marks for each layer: a full square is an active neuron, a dot one that is
 * not, a frame one that bounds the region.
 */
export function neuronStrips() {
  const root = make("div", { className: "ebm-strips" });
  const cell = 12;
  const mark = (neuron, on, bounds, i, columns) => {
    const [x, y] = [(i % columns) * cell, Math.floor(i / columns) * cell];
    const body = on
      ? `<rect class="on" x="${x + 3}" y="${y + 3}" width="6" height="6"/>`
      : `<circle class="off" cx="${x + 6}" cy="${y + 6}" r="1.4"/>`;
    const frame = `<rect class="bounds" x="${x + 1}" y="${y + 1}" width="10" height="10"/>`;
    return body + (bounds.has(neuron) ? frame : "");
  };
  return {
    root,
    show(active, sizes, bounding) {
      const bounds = new Set(bounding);
      let first = 0;
      const strips = sizes.map((size, layer) => {
        const here = active.slice(first, first + size);
        const columns = size > 64 ? 32 : 16;
        const marks = here.map((on, i) => mark(first + i, on, bounds, i, columns)).join("");
        const count = here.filter(Boolean).length;
        const edges = bounding.filter((n) => n >= first && n < first + size).length;
        const text = `layer ${layer + 1}: ${count} of ${size} active, ${edges} on the border`;
        const height = Math.ceil(size / columns) * cell;
        first += size;
        const strip = make("div", { className: "ebm-strip" });
        strip.innerHTML =
          `<svg viewBox="0 0 ${columns * cell} ${height}" role="img" ` +
          `aria-label="${text}">${marks}</svg>`;
        strip.prepend(make("span", { className: "ebm-name" }, [text]));
        return strip;
      });
      root.replaceChildren(...strips);
    },
  };
}
