/** Settings that show a surprise within a minute. Each is tested to show what it says. */
import { clampConfig } from "./config.mjs";

/** @typedef {import("./types.mjs").Preset} Preset */

/** @type {Preset[]} */
export const PRESETS = [
  {
    id: "short-run",
    title: "Good samples, wrong energy",
    sentence: "Both sides have good samples, but only the exact one has the right energy: short "
      + "runs from noise teach the energy to steer those runs, not to be the data's density.",
    updates: 400,
    config: clampConfig({
      data: "two_gaussians",
      a: { method: "exact" },
      b: { method: "shortrun", steps: 20, step: 0.1, batch: 256 },
    }),
  },
];
