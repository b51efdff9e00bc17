import { LAYER_NAMES } from "./words.mjs";

const SHAPES = {
  contours: '<ellipse cx="8" cy="7" rx="7" ry="5"/><ellipse cx="8" cy="7" rx="3.500" ry="2.300"/>',
  data: '<circle class="lab-fill" cx="4" cy="9" r="2.300"/><circle class="lab-fill" cx="11" cy="5" r="2.300"/>',
  chains: '<path d="M1 12l4-3"/><path class="lab-sample" d="M10 2l4.500 8h-9z"/>',
  forces: '<path d="M2 12L13 3M13 3H8.500M13 3v4.500"/>',
  lines: '<path stroke-dasharray="4 2" d="M1 12L15 4"/><path d="M3 2l10 10"/>',
  modes: '<path class="lab-mode" d="M8 1l1.800 4.300L14 6l-3.300 3 1 4.500L8 11l-3.700 2.500 1-4.500L2 6l4.200-.700z"/>',
};

/** A layer's name with its sign: the chips are the legend too. */
export function layerFace(/** @type {string} */ word) {
  const name = /** @type {keyof typeof SHAPES} */ (word);
  const holder = document.createElement("span");
  holder.className = "lab-sign";
  holder.innerHTML = `<svg viewBox="0 0 16 14" aria-hidden="true">${SHAPES[name]}</svg>`;
  return [holder, LAYER_NAMES[name]];
}
