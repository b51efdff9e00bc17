/**
 * What the view may use of the core. No DOM, no dependency; types are in types.mjs.
 */
export { DENSITIES, blankDrawing, decodeDrawing, encodeDrawing, makeDensity } from "./density.mjs";
export { initialise, makeNetwork, parameterCount } from "./network.mjs";
export { makeGrid, modes } from "./grid.mjs";
export { createLab, createProblem } from "./lab.mjs";
export { createTrainer } from "./trainer.mjs";
export { firstLayerLines, laterLayerLines, contours } from "./lines.mjs";
export { SHARED, SIDE, VIEW, clampConfig, decode, defaultConfig, encode } from "./config.mjs";
export { PRESETS } from "./presets.mjs";
export { fromJSON, fromSafetensors, toJSON, toSafetensors } from "./weights.mjs";
