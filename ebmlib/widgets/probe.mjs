import { assign } from "./common.mjs";
import { dragHandle } from "./handle.mjs";

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
  const side = high - low;
  const handle = dragHandle(
    square,
    (across, up) => set(low + across * side, low + up * side),
    (dx, dy, fast) => {
      const [x, y] = model.get("probe");
      const size = (side / 200) * (fast ? 10 : 1);
      set(x + dx * size, y + dy * size);
    },
  );
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
