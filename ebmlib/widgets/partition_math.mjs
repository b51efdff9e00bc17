/**
 * Exact linear regions of small ReLU networks in the plane, in float64.
 *
 * @typedef {object} Polygon  Convex, counter-clockwise.
 * @property {number[]} points  x1, y1, x2, y2, ...
 * @property {number[]} owners  for the edge from each corner to the next: the number of
 *   the neuron that switches there (layer by layer), or -1 on the side of the square
 *
 * @typedef {object} Piece  What a region knows besides its polygon.
 * @property {boolean[]} active    of all neurons cut so far, in their order
 * @property {Float64Array} map    rows x 3: each output of the last layer as a x + b y + c
 * @property {Float64Array | null} plane  f itself as a x + b y + c, with all layers
 *
 * @typedef {Polygon & Piece} Region
 */

const NEGLIGIBLE = 1e-12; // of a line's size: a corner so near to it lies on it

/**
 * Cut a convex polygon along the line a x + b y + c = 0.
 * @param {Polygon} polygon
 * @param {ArrayLike<number>} line  a, b, c
 * @param {number} neuron  owner of the new edge
 * @returns {[Polygon | null, Polygon | null]}  where the form is positive, and where not
 */
export function cutPolygon({ points, owners }, [a, b, c], neuron) {
  const least = NEGLIGIBLE * (Math.abs(a) + Math.abs(b) + Math.abs(c));
  const heights = owners.map((_, i) => {
    const height = a * points[2 * i] + b * points[2 * i + 1] + c;
    return Math.abs(height) <= least ? 0 : height;
  });
  if (!heights.some((height) => height > 0)) return [null, { points, owners }];
  if (!heights.some((height) => height < 0)) return [{ points, owners }, null];
  const parts = [1, -1].map(() => ({ points: [], owners: [] }));
  const keep = (part, x, y, owner) => {
    part.points.push(x, y);
    part.owners.push(owner);
  };
  heights.forEach((here, i) => {
    const j = (i + 1) % heights.length;
    const next = heights[j];
    const [x, y, u, v] = [points[2 * i], points[2 * i + 1], points[2 * j], points[2 * j + 1]];
    parts.forEach((part, k) => {
      const [from, to] = k === 0 ? [here, next] : [-here, -next];
      if (from > 0 || (from === 0 && to > 0)) keep(part, x, y, owners[i]);
      else if (from === 0) keep(part, x, y, neuron);
    });
    if (here * next < 0) {
      const t = here / (here - next);
      const [p, q] = [x + t * (u - x), y + t * (v - y)];
      keep(parts[here > 0 ? 0 : 1], p, q, neuron); // the side that the edge leaves
      keep(parts[here > 0 ? 1 : 0], p, q, owners[i]);
    }
  });
  return parts;
}

/** A layer's inputs as affine forms of the plane, from its own inputs as such forms. */
function compose({ weight, bias, rows, columns }, map) {
  const forms = new Float64Array(3 * rows);
  for (let row = 0; row < rows; row += 1) {
    forms[3 * row + 2] = bias[row];
    for (let column = 0; column < columns; column += 1) {
      const w = weight[row * columns + column];
      for (let k = 0; k < 3; k += 1) forms[3 * row + k] += w * map[3 * column + k];
    }
  }
  return forms;
}

/** Cut one region by all neurons of a layer. */
function cutByLayer(region, layer, first) {
  const forms = compose(layer, region.map);
  let parts = [{ points: region.points, owners: region.owners, active: [] }];
  for (let row = 0; row < layer.rows; row += 1) {
    const line = forms.subarray(3 * row, 3 * row + 3);
    parts = parts.flatMap((part) =>
      cutPolygon(part, line, first + row).flatMap((piece, k) =>
        piece ? [{ ...piece, active: [...part.active, k === 0] }] : [],
      ),
    );
  }
  const off = layer.activation.kind === "leaky_relu" ? layer.activation.slope : 0;
  return parts.map(({ points, owners, active }) => ({
    points,
    owners,
    active: [...region.active, ...active],
    map: forms.map((value, k) => (active[Math.floor(k / 3)] ? value : off * value)),
    plane: null,
  }));
}

/**
 * The linear regions of the first `depth` hidden layers on a square.
 * @param {import("./density_math.mjs").Network} network
 * @param {[number, number]} box
 * @param {number} depth
 * @returns {Region[]}
 */
export function linearRegions({ layers }, [low, high], depth) {
  const points = [low, low, high, low, high, high, low, high];
  const map = Float64Array.of(1, 0, 0, 0, 1, 0);
  let regions = [{ points, owners: [-1, -1, -1, -1], active: [], map, plane: null }];
  let first = 0;
  for (const layer of layers.slice(0, depth)) {
    regions = regions.flatMap((region) => cutByLayer(region, layer, first));
    first += layer.rows;
  }
  if (depth === layers.length - 1) {
    for (const region of regions) region.plane = compose(layers[depth], region.map);
  }
  return regions;
}

/** Area of a polygon. @param {Polygon} polygon */
export function polygonArea({ points }) {
  let twice = 0;
  for (let i = 2; i + 3 < points.length; i += 2) {
    const [x, y] = [points[i] - points[0], points[i + 1] - points[1]];
    const [u, v] = [points[i + 2] - points[0], points[i + 3] - points[1]];
    twice += x * v - y * u;
  }
  return twice / 2;
}

/** Whether a point lies in a polygon, its border included up to rounding. */
export function holds({ points }, x, y, slack = NEGLIGIBLE) {
  const n = points.length;
  for (let i = 0; i < n; i += 2) {
    const [u, v] = [points[(i + 2) % n] - points[i], points[(i + 3) % n] - points[i + 1]];
    if (u * (y - points[i + 1]) - v * (x - points[i]) < -slack) return false;
  }
  return true;
}

/** The region that holds a point of the square. @param {Region[]} regions */
export function regionAt(regions, x, y) {
  return regions.find((region) => holds(region, x, y)) ?? regions.find((r) => holds(r, x, y, 1e-9));
}

/** Numbers of the neurons that bound a region, in their order. @param {Polygon} region */
export function boundaryNeurons({ owners }) {
  return [...new Set(owners.filter((owner) => owner >= 0))].sort((a, b) => a - b);
}

/**
 * Where the density's continuation of one region has its top: exp(plane) times a Gaussian
 * prior is a Gaussian, centred at the prior's mean plus its covariance times the gradient.
 * @param {import("./density_math.mjs").Prior} prior
 * @param {ArrayLike<number>} plane  a, b, c
 * @returns {[number, number] | null}  null under the uniform prior: a plane has no top
 */
export function localCentre(prior, [a, b]) {
  if (prior.kind === "uniform") return null;
  const [[p, q], [, r]] = prior.precision;
  const determinant = p * r - q * q;
  return [
    prior.mean[0] + (r * a - q * b) / determinant,
    prior.mean[1] + (p * b - q * a) / determinant,
  ];
}
