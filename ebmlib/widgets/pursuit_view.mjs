import { assign, format, make } from "./common.mjs";
import { projector } from "./density_view.mjs";
import { dragHandle } from "./handle.mjs";
import { filterDirection, filterLine, poolFilter } from "./pursuit_math.mjs";

/** What a coefficient's sign looks like: colour, dashes, and the shape of its number. */
export const SIGN_STYLES = {
  up: { colour: "#e69f00", dash: [], words: "raises p beyond its line" },
  down: { colour: "#56b4e9", dash: [9, 5], words: "lowers p beyond its line" },
};
const ASKED = "#cc79a7";

const signOf = (coefficient) => SIGN_STYLES[coefficient < 0 ? "down" : "up"];

/** Fit a canvas to its place on the screen. */
function prepared(canvas) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const size = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.width = size;
  canvas.height = size;
  return { context: canvas.getContext("2d"), size, ratio };
}

/** Draw a path twice, so that it stands out from every colour beneath. */
function haloed(context, ratio, trace, { colour, dash = [], width, halo = "#111" }) {
  for (const [stroke, extra] of [[halo, 2], [colour, 0]]) {
    context.beginPath();
    trace();
    context.strokeStyle = stroke;
    context.lineWidth = (width + extra) * ratio;
    context.setLineDash(dash.map((length) => length * ratio));
    context.stroke();
  }
  context.setLineDash([]);
}

/** A number in a disc (positive) or a square (negative). */
function badge(context, ratio, [x, y], text, coefficient) {
  const radius = 8.5 * ratio;
  context.beginPath();
  if (coefficient < 0) context.rect(x - radius, y - radius, 2 * radius, 2 * radius);
  else context.arc(x, y, radius, 0, 7);
  context.fillStyle = signOf(coefficient).colour;
  context.fill();
  context.lineWidth = 1.4 * ratio;
  context.strokeStyle = "#111";
  context.stroke();
  context.fillStyle = "#111";
  context.font = `600 ${11 * ratio}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, x, y + 0.5 * ratio);
}

const along = (context, at, line) => () => {
  context.moveTo(...at(line[0], line[1]));
  for (let k = 2; k < line.length; k += 2) context.lineTo(...at(line[k], line[k + 1]));
};

/** A short arrow from a line to the side where the filter is active. */
function drawArrow(context, at, ratio, line, angle, style, share = 0.5) {
  const [x, y] = at(line[0] + share * (line[2] - line[0]), line[1] + share * (line[3] - line[1]));
  const [u, v] = [filterDirection(angle)[0] * ratio, -filterDirection(angle)[1] * ratio];
  haloed(context, ratio, () => {
    context.moveTo(x, y);
    context.lineTo(x + 16 * u, y + 16 * v);
    for (const side of [1, -1]) {
      context.moveTo(x + 16 * u, y + 16 * v);
      context.lineTo(x + 10 * u - 4 * side * v, y + 10 * v + 4 * side * u);
    }
  }, { ...style, dash: [], width: 2 });
}

/** Where a line's number stands: just inside the square, later ones further in. */
function badgePlace(at, line, rank, size, ratio) {
  const [[x, y], [u, v]] = [at(line[0], line[1]), at(line[2], line[3])];
  const length = Math.hypot(u - x, v - y) || 1;
  const share = Math.min(0.5, ((14 + 20 * (rank % 3)) * ratio) / length);
  const margin = 10 * ratio;
  return [x + share * (u - x), y + share * (v - y)]
    .map((value) => Math.min(size - margin, Math.max(margin, value)));
}

/**
 * The plane: contours of the data, the line of each chosen filter where its matched
 * expectation lies, and the filter that is asked about: where the data's expectation
 * lies, and where the model's.
 */
export function paintFilters(canvas, { box, contours, fit, pool, asked, facts }) {
  const { context, size, ratio } = prepared(canvas);
  const at = projector(box, size);
  for (const line of contours) {
    haloed(context, ratio, along(context, at, line), { colour: "#fff", width: 1 });
  }
  const place = (number, expectation) => {
    const [angle, offset] = poolFilter(pool, number);
    return { angle, line: filterLine(angle, offset + expectation, box) };
  };
  const chosen = fit.filters.map((number, i) => ({
    ...place(number, fit.targets[i]), coefficient: fit.coefficients[i],
  })).filter(({ line }) => line);
  chosen.forEach(({ line, angle, coefficient }, i) => {
    const style = { ...signOf(coefficient), width: 2.2 };
    haloed(context, ratio, along(context, at, line), style);
    drawArrow(context, at, ratio, line, angle, style, 0.64 + 0.06 * (i % 5));
  });
  const lines = [[facts.expectation, [2, 4]], [facts.target, []]];
  for (const [expectation, dash] of lines) {
    const { line, angle } = place(asked, expectation);
    if (!line) continue;
    haloed(context, ratio, along(context, at, line), { colour: ASKED, dash, width: 2.6 });
    if (!dash.length) drawArrow(context, at, ratio, line, angle, { colour: ASKED });
  }
  fit.filters.forEach((number, i) => {
    const { line } = place(number, fit.targets[i]);
    if (!line) return;
    badge(context, ratio, badgePlace(at, line, i, size, ratio), String(i + 1), fit.coefficients[i]);
  });
}

/** Where a filter of the pool lies on its map, as shares of the map's sides. */
function mapPlace({ angles, offsets }, number) {
  const [i, j] = [Math.floor(number / offsets.length), number % offsets.length];
  return [(i + 0.5) / angles.length, 1 - (j + 0.5) / offsets.length];
}

/** The map over the pool: angle to the right, offset upwards, zero in the middle. */
export function paintPool(canvas, scores, { angles, offsets }, palette) {
  canvas.width = angles.length;
  canvas.height = offsets.length;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  const top = scores.reduce((most, score) => Math.max(most, Math.abs(score)), 0);
  scores.forEach((score, k) => {
    const level = top > 0 ? Math.round(127.5 + (127.5 * score) / top) : 128;
    const [i, j] = [Math.floor(k / offsets.length), k % offsets.length];
    const place = 4 * ((offsets.length - 1 - j) * angles.length + i);
    pixels.data.set(palette.subarray(3 * level, 3 * level + 3), place);
    pixels.data[place + 3] = 255;
  });
  context.putImageData(pixels, 0, 0);
  return [-top, top];
}

/** On the map: the chosen filters, the greedy rule's next, the one that is asked about. */
export function paintMarks(canvas, { fit, pool, asked, best }) {
  const { context, size, ratio } = prepared(canvas);
  const at = (number) => mapPlace(pool, number).map((share) => share * size);
  fit.filters.forEach((number, i) => {
    badge(context, ratio, at(number), String(i + 1), fit.coefficients[i]);
  });
  if (best >= 0) {
    const [x, y] = at(best);
    const radius = 10 * ratio;
    haloed(context, ratio, () => {
      context.moveTo(x, y - radius);
      context.lineTo(x + radius, y);
      context.lineTo(x, y + radius);
      context.lineTo(x - radius, y);
      context.closePath();
    }, { colour: "#111", halo: "#fff", width: 2.2 });
  }
  const [x, y] = at(asked);
  haloed(context, ratio, () => {
    context.moveTo(x + 9 * ratio, y);
    context.arc(x, y, 9 * ratio, 0, 7);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 5 * ratio * dx, y + 5 * ratio * dy);
      context.lineTo(x + 14 * ratio * dx, y + 14 * ratio * dy);
    }
  }, { colour: ASKED, width: 2.2 });
}

/** The handle on the map: drag, tap or arrow keys choose a filter; angles go round. */
export function poolHandle(model, square, pool) {
  const [turns, rows] = [pool.angles.length, pool.offsets.length];
  const set = (i, j) => {
    const row = Math.min(rows - 1, Math.max(0, j));
    assign(model, "candidate", ((i + turns) % turns) * rows + row);
  };
  const handle = dragHandle(
    square,
    (across, up) => {
      const turn = Math.floor(across * turns);
      set(Math.min(turns - 1, Math.max(0, turn)), Math.floor(up * rows));
    },
    (di, dj, fast) => {
      const now = model.get("candidate");
      const size = fast ? 5 : 1;
      set(Math.floor(now / rows) + di * size, (now % rows) + dj * size);
    },
  );
  return {
    set,
    show() {
      const now = model.get("candidate");
      const [x, y] = mapPlace(pool, now);
      const [angle, offset] = poolFilter(pool, now);
      handle.style.left = `${100 * x}%`;
      handle.style.top = `${100 * y}%`;
      handle.setAttribute("aria-label",
        `Filter with angle ${Number(angle.toFixed(2))}° and offset ${format(offset, 3)}: arrow keys move it`);
    },
  };
}

/** The key to the lines of the plane. */
export function filterKey() {
  const entry = (drawing, text) => {
    const root = make("span");
    root.innerHTML = '<svg viewBox="0 0 30 10" aria-hidden="true">' +
      `<rect width="30" height="10" rx="2" style="fill:#444"/>${drawing}</svg>`;
    root.append(text);
    return root;
  };
  const stroke = (colour, dash) =>
    `<path d="M0 5h30" stroke="${colour}" stroke-width="2.4" stroke-dasharray="${dash}"/>`;
  return make("div", { className: "ebm-key" }, [
    entry(stroke("#fff", ""), "contours of the data"),
    ...Object.values(SIGN_STYLES).map(({ colour, dash, words }) =>
      entry(stroke(colour, dash.join(" ")), words)),
    entry(stroke(ASKED, ""), "your filter: expectation of the data"),
    entry(stroke(ASKED, "2 4"), "your filter: expectation of the model"),
  ]);
}

/** KL against the number of filters, on a logarithmic scale, and the run before. */
export function pursuitChart(most) {
  const name = make("p", { className: "ebm-name" }, ["KL against the number of filters"]);
  const drawing = make("div");
  return {
    root: make("div", { className: "ebm-mass" }, [name, drawing]),
    show(path, former) {
      const all = [...path, ...former].filter((kl) => kl > 0).map(Math.log10);
      const [low, high] = [Math.floor(Math.min(-1, ...all)), Math.ceil(Math.max(0, ...all))];
      const px = (i) => 46 + (i * 260) / most;
      const py = (kl) => 122 - ((Math.log10(Math.max(kl, 10 ** low)) - low) / (high - low)) * 110;
      const trace = (values) => values.map((kl, i) => `${i ? "L" : "M"}${px(i)} ${py(kl)}`).join("");
      const levels = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i));
      const sides = levels.map((kl) =>
        `<path class="grid" d="M46 ${py(kl)}H306"/>` +
        `<text x="40" y="${py(kl) + 4}" text-anchor="end">${kl}</text>`);
      const ticks = Array.from({ length: most / 2 + 1 }, (_, i) =>
        `<text x="${px(2 * i)}" y="138" text-anchor="middle">${2 * i}</text>`);
      const dots = path.map((kl, i) => `<circle cx="${px(i)}" cy="${py(kl)}" r="3.5"/>`);
      const words = path.map((kl, i) => `${format(kl, 5)} with ${i}`).join(", ");
      drawing.innerHTML =
        `<svg viewBox="0 0 320 158" role="img" aria-label="KL in nats: ${words} filters">` +
        `${sides.join("")}<path class="frame" d="M46 8V122H312"/>` +
        `<path class="exact" d="${trace(former)}"/><path class="mass" d="${trace(path)}"/>` +
        `${dots.join("")}${ticks.join("")}` +
        '<text x="178" y="154" text-anchor="middle">filters, that is numbers matched</text></svg>';
      name.textContent = "KL against the number of filters" +
        (former.length > 1 ? "; dashed: the run before" : "");
    },
  };
}
