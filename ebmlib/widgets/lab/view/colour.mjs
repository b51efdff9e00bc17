/**
 * Colours of the pictures, for both themes: ramps of even steps of lightness in OKLab,
 * and the Okabe-Ito colours by which data, samples and models are told apart.
 *
 * @typedef {"light" | "dark"} Theme
 * @typedef {[number, number, number]} Lch  OKLCh: lightness, chroma, hue in degrees
 * @typedef {Uint8ClampedArray} Ramp  256 colours, four bytes each
 */

/** @param {number} value */
const gamma = (value) =>
  255 * (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055);

/** sRGB bytes of a colour in OKLab. */
function toBytes(/** @type {number} */ L, /** @type {number} */ a, /** @type {number} */ b) {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    gamma(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    gamma(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    gamma(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

/**
 * A ramp through some colours at even distances.
 * @param {Lch[]} stops
 * @returns {Ramp}
 */
export function rampOf(stops) {
  const ramp = new Uint8ClampedArray(1024);
  const lab = stops.map(([L, c, h]) => {
    const angle = (h * Math.PI) / 180;
    return [L, c * Math.cos(angle), c * Math.sin(angle)];
  });
  for (let i = 0; i < 256; i += 1) {
    const place = (i / 255) * (stops.length - 1);
    const left = Math.min(stops.length - 2, Math.floor(place));
    const t = place - left;
    const mix = lab[left].map((value, k) => value + t * (lab[left + 1][k] - value));
    ramp.set([...toBytes(mix[0], mix[1], mix[2]).map(Math.round), 255], 4 * i);
  }
  return ramp;
}

/** @param {Lch} paper  @param {Lch} end  @param {number} hue  @returns {Lch[]} */
const through = (paper, end, hue) => {
  const at = (/** @type {number} */ t, /** @type {number} */ chroma) =>
    /** @type {Lch} */ ([paper[0] + t * (end[0] - paper[0]), chroma, hue]);
  return [paper, at(0.25, 0.065), at(0.5, 0.125), at(0.75, 0.125), end];
};

/** @type {Record<Theme, Lch>} */
const PAPER = { light: [0.992, 0.003, 250], dark: [0.215, 0.012, 255] };

/** @type {Record<Theme, {density: Ramp, energy: Ramp, signed: Ramp}>} */
export const RAMPS = {
  light: {
    density: rampOf(through(PAPER.light, [0.3, 0.1, 262], 248)),
    energy: rampOf(through(PAPER.light, [0.32, 0.11, 312], 312)),
    signed: rampOf([[0.52, 0.15, 45], [0.78, 0.1, 60], PAPER.light, [0.78, 0.09, 240], [0.5, 0.13, 252]]),
  },
  dark: {
    density: rampOf(through(PAPER.dark, [0.96, 0.04, 215], 240)),
    energy: rampOf(through(PAPER.dark, [0.94, 0.05, 320], 312)),
    signed: rampOf([[0.76, 0.15, 60], [0.47, 0.1, 50], PAPER.dark, [0.46, 0.1, 252], [0.78, 0.1, 235]]),
  },
};

/** @type {Record<Theme, Record<string, string>>} */
export const INK = {
  light: {
    ink: "#222832", soft: "#59636f", line: "#d5d9de", paper: "#fff", a: "#0072b2", b: "#c04f00",
    data: "#1b2027", halo: "rgba(255,255,255,.85)", sample: "#e69f00", edge: "#3a2600",
    contour: "rgba(20,40,70,.34)", force: "rgba(34,40,50,.62)", mode: "#b0005e",
    first: "#7a3d00", later: "#00664c",
  },
  dark: {
    ink: "#e8eaed", soft: "#abb3bd", line: "#454c55", paper: "#14181e", a: "#56b4e9", b: "#f0883e",
    data: "#fff", halo: "rgba(13,17,23,.8)", sample: "#f0b429", edge: "#1d1300",
    contour: "rgba(225,240,255,.32)", force: "rgba(232,234,237,.62)", mode: "#ff8ac4",
    first: "#f5c58f", later: "#5fd6b0",
  },
};

/** The theme of the page around an element; follows a book's switch and JupyterLab's. */
export function themeOf() {
  const chosen = document.documentElement.dataset.theme;
  if (chosen === "dark" || chosen === "light") return /** @type {Theme} */ (chosen);
  const jupyter = document.body.dataset.jpThemeLight;
  if (jupyter !== undefined) return jupyter === "false" ? "dark" : "light";
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/**
 * Call back when the page changes its theme.
 * @param {() => void} callback
 * @returns {() => void}  Stops watching.
 */
export function watchTheme(callback) {
  const observer = new MutationObserver(callback);
  const options = { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light"] };
  observer.observe(document.documentElement, options);
  observer.observe(document.body, options);
  const query = matchMedia("(prefers-color-scheme: dark)");
  query.addEventListener("change", callback);
  return () => {
    observer.disconnect();
    query.removeEventListener("change", callback);
  };
}
