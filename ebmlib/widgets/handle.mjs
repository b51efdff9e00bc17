import { make } from "./common.mjs";

/**
 * A handle on a square: drag it, tap the square, or press arrow keys.
 * @param {HTMLElement} square
 * @param {(across: number, up: number) => void} to  a place, in shares of the square
 * @param {(dx: number, dy: number, fast: boolean) => void} by  a key: -1, 0 or 1 each way
 * @returns {HTMLButtonElement}
 */
export function dragHandle(square, to, by) {
  const at = (event) => {
    const frame = square.getBoundingClientRect();
    to((event.clientX - frame.left) / frame.width, (frame.bottom - event.clientY) / frame.height);
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
    by(...steps[event.key], event.shiftKey);
    event.preventDefault();
  });
  square.append(handle);
  return handle;
}
