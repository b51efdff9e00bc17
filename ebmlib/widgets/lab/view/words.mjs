/** Every word of the Lab that is not a label of an option. */

/** Short names for chips. */
export const METHODS = {
  exact: "Exact", cd: "CD-k", persistent: "Persistent", shortrun: "Short runs",
};

export const HELP = {
  play: "Train without end, or rest. A grid gives the exact answer at every update.",
  step: "One update of the weights: push the energy down on data, pull it up on samples.",
  slow: "Slow motion: the two halves of each update one after the other, and every Langevin step.",
  reset: "Back to the initial weights. The same seed replays the same run, to the last bit.",
  scrub: "Go back to any earlier moment of this run. Training on from there gives the same run again.",
  preset: "A surprise to find within a minute. Choosing one replaces all settings.",
  share: "Copy an address that holds every setting, the seed included.",
  save: "Save the weights of the model whose settings are shown, as a safetensors file that ebmlib.checkpoint.load_models reads.",
  compare: "Train two models side by side on the same data; where their networks are alike, from the same weights.",
  side: "Which of the two models the settings below belong to.",
  kl: "KL(q ‖ p) between the true density q and the model p, in nats, exact on the grid. 0 is perfect.",
  likelihood: "Mean log-likelihood of the data in nats. The dotted line is minus the entropy of the true density: no model does better in the long run.",
  energy: "Mean energy of the data (solid) and of the negative samples (dotted). Learning pushes the first down and the second up until they meet.",
  gradient: "Length of the gradient of the loss. It falls as both means agree; it jumps where learning is unstable.",
  picture: "The plane from -1 to 1. Circles are data, triangles are the samples at which the energy is pulled up.",
  rate: "Updates in the last second.",
};

export const LAYERS = {
  contours: "Lines of equal energy, at equal distances in nats.",
  data: "Up to 300 of the data, as circles.",
  chains: "The negative samples, as triangles, and the tails of the first chains in the last update.",
  forces: "The force -dE/dx that moves the chains, as arrows.",
  lines: "Where each neuron's input is zero: straight dashed lines for the first layer, solid ones for the second. Between them a ReLU energy is linear.",
  modes: "Peaks of the density, as stars: cells higher than all their neighbours, up to 3 nats below the top.",
};

export const LAYER_NAMES = {
  contours: "Contours", data: "Data", chains: "Samples", forces: "Forces", lines: "Lines", modes: "Modes",
};

export const PHASES = {
  push: "1 · Push: energy goes down on data",
  pull: "2 · Pull: energy goes up on samples",
  update: "Update: both together change the weights",
};

/** A letter and a colour for each side; the dash of its curves tells them apart too. */
export const SIDES = [
  { letter: "A", ink: "a", dash: [] },
  { letter: "B", ink: "b", dash: [6, 3] },
];
