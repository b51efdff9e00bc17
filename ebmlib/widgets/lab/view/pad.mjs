import { make } from "../../common.mjs";
import { DRAWING_SIDE, decodeDrawing, encodeDrawing } from "../core/density.mjs";
import { INK, RAMPS, themeOf } from "./colour.mjs";
import { explain } from "./controls.mjs";
import { sharp } from "./plane.mjs";

/** A face to begin with. */
export function starter() {
  const half = DRAWING_SIDE / 2;
  return decodeDrawing("").map((_, k) => {
    const x = ((k % DRAWING_SIDE) + 0.5) / half - 1;
    const y = 1 - (Math.floor(k / DRAWING_SIDE) + 0.5) / half;
    const radius = Math.hypot(x, y);
    const eye = Math.hypot(Math.abs(x) - 0.28, y - 0.25) < 0.13;
    const mouth = Math.abs(Math.hypot(x, y + 0.02) - 0.45) < 0.075 && y < -0.12;
    return Math.abs(radius - 0.82) < 0.07 || eye || mouth ? 3 : 0;
  });
}

/**
 * A square to draw a density on, with a pointer, a finger, or keys.
 * @param {(drawing: string) => void} change  called when a stroke ends
 */
export function drawingPad(change) {
  const side = DRAWING_SIDE;
  let cells = decodeDrawing("");
  let [column, row] = [side >> 1, side >> 1];
  let drawing = false;
  let erase = false;
  const canvas = make("canvas", { className: "lab-pad", tabIndex: 0 });
  canvas.setAttribute("role", "application");
  const help = "Draw a density: drag on the square. By keyboard: arrow keys move, Space paints, "
    + "Backspace erases, Enter trains on it.";
  canvas.setAttribute("aria-label", "Drawing pad");
  explain(canvas, help);

  const paint = () => {
    const size = canvas.clientWidth || 150;
    const context = sharp(canvas, size, size);
    const theme = themeOf();
    const ramp = RAMPS[theme].density;
    const cell = size / side;
    for (let k = 0; k < cells.length; k += 1) {
      const [r, g, b] = ramp.subarray(4 * [0, 90, 165, 245][cells[k]]);
      context.fillStyle = `rgb(${r},${g},${b})`;
      context.fillRect((k % side) * cell, Math.floor(k / side) * cell, cell + 0.5, cell + 0.5);
    }
    if (document.activeElement === canvas) {
      context.strokeStyle = INK[theme].b;
      context.lineWidth = 2;
      context.strokeRect(column * cell, row * cell, cell, cell);
    }
  };

  /** A soft brush: full in the middle, fainter around it. */
  const dab = () => {
    for (let r = row - 1; r <= row + 1; r += 1) {
      for (let c = column - 1; c <= column + 1; c += 1) {
        if (r < 0 || c < 0 || r >= side || c >= side) continue;
        const level = r === row && c === column ? 3 : r === row || c === column ? 2 : 1;
        const k = r * side + c;
        cells[k] = erase ? 0 : Math.max(cells[k], level);
      }
    }
  };
  const place = (/** @type {PointerEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    const at = (/** @type {number} */ share) =>
      Math.min(side - 1, Math.max(0, Math.floor(share * side)));
    return [at((event.clientX - box.left) / box.width), at((event.clientY - box.top) / box.height)];
  };
  const stroke = (/** @type {PointerEvent} */ event) => {
    const [c, r] = place(event);
    const steps = Math.max(1, Math.abs(c - column), Math.abs(r - row));
    const [c0, r0] = [column, row];
    for (let s = 1; s <= steps; s += 1) {
      column = Math.round(c0 + ((c - c0) * s) / steps);
      row = Math.round(r0 + ((r - r0) * s) / steps);
      dab();
    }
    paint();
  };
  canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    drawing = true;
    canvas.setPointerCapture(event.pointerId);
    [column, row] = place(event);
    stroke(event);
  });
  canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    if (drawing) stroke(event);
  });
  const lift = () => {
    if (!drawing) return;
    drawing = false;
    change(encodeDrawing(cells));
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[/** @type {keyof typeof moves} */ (event.key)];
    if (move) {
      column = Math.min(side - 1, Math.max(0, column + move[0]));
      row = Math.min(side - 1, Math.max(0, row + move[1]));
    } else if (event.key === " ") dab();
    else if (event.key === "Backspace" || event.key === "Delete") {
      cells[row * side + column] = 0;
    } else if (event.key === "Enter") change(encodeDrawing(cells));
    else return;
    event.preventDefault();
    paint();
  });
  canvas.addEventListener("focus", paint);
  canvas.addEventListener("blur", paint);

  const rubber = make("input", { type: "checkbox" });
  rubber.addEventListener("change", () => {
    erase = rubber.checked;
  });
  const eraser = explain(make("label", { className: "ebm-chip" }, [rubber, make("span", {}, ["Erase"])]),
    "Take away instead of adding.");
  const clear = explain(make("button", { type: "button", className: "lab-button", textContent: "Clear" }),
    "Start with an empty square.");
  clear.addEventListener("click", () => {
    cells = decodeDrawing("");
    paint();
  });
  const root = make("div", { className: "lab-drawing" }, [
    canvas, make("div", { className: "lab-drawing-tools" }, [
      eraser, clear, make("p", {}, ["Drag to draw. Keys: arrows, Space, Backspace, Enter."])]),
  ]);
  return {
    root, paint,
    /** @param {string} text */
    show(text) {
      if (!drawing && text && encodeDrawing(cells) !== text) cells = decodeDrawing(text);
      paint();
    },
  };
}
