/**
 * Settings that show a surprise within a minute, as a comparison of two sides that differ in
 * little else. Each is tested to show what its sentence says (tests/lab/presets.test.mjs),
 * for several seeds.
 */
import { clampConfig } from "./config.mjs";

/** @typedef {import("./types.mjs").Preset} Preset */

const small = { width1: 16, width2: 16, lr: 0.03 };
const chains = { ...small, method: "persistent", steps: 20, step: 0.05, batch: 256 };

/** @type {Preset[]} */
export const PRESETS = [
  {
    id: "short-run",
    title: "Good samples, wrong energy",
    sentence: "Chains of 30 steps from noise end near the data on side B, yet its energy is far "
      + "from the truth: it has learned to steer short runs, not to be a density.",
    updates: 200,
    config: clampConfig({
      data: "star",
      a: { ...small, lr: 0.02, method: "exact" },
      b: { ...small, lr: 0.02, method: "shortrun", steps: 30, step: 0.05, batch: 256 },
    }),
  },
  {
    id: "one-step",
    title: "One step is not enough",
    sentence: "Persistent chains that take one step an update (B) cannot follow the model, and "
      + "its energy runs away; with twenty steps (A) it stays near the truth.",
    updates: 200,
    config: clampConfig({ data: "ring", a: chains, b: { ...chains, steps: 1 } }),
  },
  {
    id: "large-step",
    title: "Too large a step",
    sentence: "The same chains with a step of 0.2 instead of 0.05 (B) jump over the ring's "
      + "narrow wall: what they sample is not the model, and learning from it diverges.",
    updates: 200,
    config: clampConfig({ data: "ring", a: chains, b: { ...chains, step: 0.2 } }),
  },
  {
    id: "narrow-prior",
    title: "A prior that is too narrow",
    sentence: "Both sides learn exactly, but on B the network must first undo a Gaussian of "
      + "standard deviation 0.05: after 100 updates it is still far behind the flat prior.",
    updates: 100,
    config: clampConfig({
      data: "ring", a: { ...small, method: "exact" }, b: { ...small, method: "exact", prior: 0.05 },
    }),
  },
  {
    id: "depth",
    title: "Deep beats wide",
    sentence: "Two layers of 16 neurons (A) are nearer to the ring after 100 updates than one "
      + "layer of 64 (B): the second layer folds the plane along lines that are already bent.",
    updates: 100,
    config: clampConfig({
      data: "ring",
      a: { ...small, method: "exact" },
      b: { ...small, method: "exact", width1: 64, width2: 0 },
    }),
  },
];
