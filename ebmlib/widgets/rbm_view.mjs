import { histogram } from "./rbm_math.mjs";

const [FREE, DRAWN, PAPER] = ["#0072b2", "#d55e00", "#fff"];
/** What each brush does, and the frame that the cursor then has: colour and dashes. */
export const BRUSHES = {
  ink: { label: "ink", mask: false, value: "1", frame: [DRAWN, []] },
  erase: { label: "erase", mask: false, value: "0", frame: [DRAWN, [3, 3]] },
  free: { label: "free", mask: true, value: "1", frame: [FREE, []] },
  hold: { label: "hold", mask: true, value: "0", frame: [FREE, [3, 3]] },
};

/** A canvas's context with as many pixels as it is shown with. */
function fitted(canvas, height) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.width = width;
  canvas.height = height === undefined ? width : Math.round(height(canvas.clientWidth) * ratio);
  const context = canvas.getContext("2d");
  return { context, width, height: canvas.height, ratio };
}

/**
 * Paint an image of grey values, dark for 1; pixels that the chain may change are
 * tinted and carry a dot in a corner, so that it shows without colour too.
 */
export function paintImage(canvas, values, side, { free = null, cursor = null, brush = null }) {
  const { context, width, ratio } = fitted(canvas);
  const edge = (k) => Math.round((k * width) / side);
  const some = free !== null && [...free].some((one) => one === 0);
  for (let i = 0; i < side; i += 1) {
    for (let j = 0; j < side; j += 1) {
      const k = i * side + j;
      const grey = Math.round(255 - 233 * values[k]);
      const box = [edge(j), edge(i), edge(j + 1) - edge(j), edge(i + 1) - edge(i)];
      context.fillStyle = `rgb(${grey} ${grey} ${grey})`;
      context.fillRect(...box);
      if (!some || !free[k]) continue;
      context.fillStyle = "rgb(86 180 233 / 30%)";
      context.fillRect(...box);
      context.fillStyle = FREE;
      context.beginPath();
      context.arc(box[0] + box[2] / 2, box[1] + box[3] / 2, box[2] * 0.09, 0, 7);
      context.fill();
    }
  }
  if (side <= 12) {
    context.strokeStyle = "rgb(120 130 140 / 35%)";
    context.lineWidth = ratio * 0.6;
    for (let k = 1; k < side; k += 1) {
      context.strokeRect(edge(k), -9, 0, width + 18);
      context.strokeRect(-9, edge(k), width + 18, 0);
    }
  }
  if (cursor === null) return;
  const [colour, dash] = BRUSHES[brush].frame;
  for (const [ink, line, gaps] of [[PAPER, 4, []], [colour, 2.2, dash]]) {
    context.strokeStyle = ink;
    context.lineWidth = line * ratio;
    context.setLineDash(gaps.map((gap) => gap * ratio));
    const inset = 1.5 * ratio;
    const cell = width / side;
    context.strokeRect(edge(cursor[1]) + inset, edge(cursor[0]) + inset,
      cell - 2 * inset, cell - 2 * inset);
  }
  context.setLineDash([]);
}

/** Paint each hidden unit's weights as an image, and a bar: the chance that it is on. */
export function paintFilters(canvas, machine, side, chance, palette) {
  const columns = machine.hidden > 30 ? 16 : Math.min(10, Math.max(4, Math.ceil(machine.hidden / 2)));
  const rows = Math.ceil(machine.hidden / columns);
  const gap = 0.12;
  const step = (width) => width / (columns + (columns - 1) * gap);
  const { context, width } = fitted(canvas, (w) => step(w) * rows * (1.22 + gap));
  const tile = step(width);
  const size = machine.weight.reduce((top, w) => Math.max(top, Math.abs(w)), 0) || 1;
  const small = new OffscreenCanvas(side, side);
  const ink = small.getContext("2d");
  context.imageSmoothingEnabled = false;
  for (let j = 0; j < machine.hidden; j += 1) {
    const pixels = ink.createImageData(side, side);
    for (let i = 0; i < machine.visible; i += 1) {
      const level = Math.round((machine.weight[i * machine.hidden + j] / size + 1) * 127.5);
      pixels.data.set(palette.subarray(3 * level, 3 * level + 3), 4 * i);
      pixels.data[4 * i + 3] = 255;
    }
    ink.putImageData(pixels, 0, 0);
    const x = (j % columns) * tile * (1 + gap);
    const y = Math.floor(j / columns) * tile * (1.22 + gap);
    context.drawImage(small, x, y, tile, tile);
    context.fillStyle = "rgb(138 148 160 / 45%)";
    context.fillRect(x, y + tile * 1.05, tile, tile * 0.15);
    context.fillStyle = "#e69f00";
    context.fillRect(x, y + tile * 1.05, tile * chance[j], tile * 0.15);
    if (chance[j] <= 0.5) continue;
    context.strokeStyle = "#e69f00";
    context.lineWidth = tile * 0.07;
    context.strokeRect(x + tile * 0.035, y + tile * 0.035, tile * 0.93, tile * 0.93);
  }
}

/** From where to where free energies are shown: most real digits, and room around them. */
export function energyRange(reference, drawing) {
  if (reference === null) return [drawing - 20, drawing + 20];
  const last = reference.length - 1;
  const [low, high] = [0.01, 0.99].map((share) => reference[Math.round(share * last)]);
  return [low - 0.4 * (high - low), high + 0.8 * (high - low)];
}

/**
 * Paint the free energies of real digits as bars, below them the chain's last ones
 * with the newest on top, and a triangle at the drawing's.
 */
export function paintEnergies(canvas, range, reference, drawing, trail) {
  const { context, width, height, ratio } = fitted(canvas, () => 120);
  const at = (value) => {
    const share = (value - range[0]) / (range[1] - range[0]);
    return Math.min(width - 6 * ratio, Math.max(6 * ratio, share * width));
  };
  const floor = height * 0.55;
  if (reference !== null) {
    const counts = histogram(reference, range, 60);
    const top = counts.reduce((a, b) => Math.max(a, b), 0);
    context.fillStyle = "#8a94a0";
    counts.forEach((count, k) => {
      const tall = (count / top) * floor * 0.95;
      context.fillRect((k * width) / 60, floor - tall, width / 60 - ratio, tall);
    });
  }
  context.fillStyle = "#8a94a0";
  context.fillRect(0, floor, width, ratio);
  trail.forEach((value, k) => {
    const newest = k === trail.length - 1;
    const y = floor + 8 * ratio + ((trail.length - 1 - k) / 60) * (height - floor - 14 * ratio);
    context.globalAlpha = newest ? 1 : 0.6;
    context.fillStyle = "#2b8fd0";
    context.beginPath();
    context.arc(at(value), y, (newest ? 5 : 2) * ratio, 0, 7);
    context.fill();
  });
  context.globalAlpha = 1;
  const x = at(drawing);
  context.fillStyle = DRAWN;
  context.beginPath();
  context.moveTo(x, floor);
  context.lineTo(x - 7 * ratio, floor - 14 * ratio);
  context.lineTo(x + 7 * ratio, floor - 14 * ratio);
  context.fill();
}
