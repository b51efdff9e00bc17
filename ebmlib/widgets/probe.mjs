import { assign, make } from "./common.mjs";

/**
 * A point of the square that the reader moves: drag, tap or arrow keys.
 * @param {import("./common.mjs").Model} model  its trait `probe` holds the point
 * @param {HTMLElement} square
 * @param {[number, number]} box
 * @param {string} [name]  what the point is, for those who cannot see it
 * @returns {{set: (x: number, y: number) => void, show: () => void}}
 */
export function probeHandle(model, square, [low, high], name = "Probe") {
  const inside = (value) => Math.min(high, Math.max(low, value));
  const set = (x, y) => {
    const rounded = [x, y].map((value) => Number(inside(value).toFixed(4)));
    assign(model, "probe", rounded);
  };
  const at = (event) => {
    const frame = square.getBoundingClientRect();
    set(
      low + ((event.clientX - frame.left) / frame.width) * (high - low),
      high - ((event.clientY - frame.top) / frame.height) * (high - low),
    );
  };
  const handle = make("button", { type: "button", className: "ebm-handle" });
  handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
  handle.addEventListener("pointermove", (event) => {
    if (handle.hasPointerCapture(event.pointerId)) at(event);
  });
  square.addEventListener("click", (event) => {
    if (!handle.contains(event.target)) at(event);
  });
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
  handle.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    const size = ((high - low) / 200) * (event.shiftKey ? 10 : 1);
    const now = model.get("probe");
    set(...now.map((value, i) => value + steps[event.key][i] * size));
    event.preventDefault();
  });
  square.append(handle);
  return {
    set,
    show() {
      const [x, y] = model.get("probe");
      handle.style.left = `${(100 * (x - low)) / (high - low)}%`;
      handle.style.top = `${(100 * (high - y)) / (high - low)}%`;
      handle.setAttribute("aria-label", `${name} at ${x}, ${y}: arrow keys move it`);
    },
  };
}
