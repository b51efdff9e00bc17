/** Lines where neurons switch, level sets, modes, and files of weights. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { makeGrid, modes, normalise, shares } from "../../ebmlib/widgets/lab/core/grid.mjs";
import { clipLine, contours, firstLayerLines, laterLayerLines } from "../../ebmlib/widgets/lab/core/lines.mjs";
import { makeNetwork } from "../../ebmlib/widgets/lab/core/network.mjs";
import { stream } from "../../ebmlib/widgets/lab/core/streams.mjs";
import { fromJSON, fromSafetensors, toJSON, toSafetensors } from "../../ebmlib/widgets/lab/core/weights.mjs";

function randomNetwork(widths, activation) {
  const network = makeNetwork(widths, activation, 0.3);
  const { normal } = stream(5, 9);
  network.theta.forEach((_, k) => { network.theta[k] = normal(); });
  return network;
}

test("lines of the first layer are exact and end on the square's sides", () => {
  const network = randomNetwork([2, 40, 4, 1], "relu");
  const lines = firstLayerLines(network);
  assert.ok(lines.length > 10 && lines.length < 40);
  for (const [x1, y1, x2, y2] of lines) {
    for (const [x, y] of [[x1, y1], [x2, y2]]) {
      assert.ok(Math.abs(Math.max(Math.abs(x), Math.abs(y)) - 1) < 1e-12);
    }
    // some neuron is 0 at both ends
    const sizes = Array.from({ length: 40 }, (_, r) => {
      const [u, v, c] = [network.theta[2 * r], network.theta[2 * r + 1], network.theta[80 + r]];
      return Math.max(Math.abs(u * x1 + v * y1 + c), Math.abs(u * x2 + v * y2 + c));
    });
    assert.ok(Math.min(...sizes) < 1e-12);
  }
  assert.equal(clipLine(1, 1, 5), null);
  assert.equal(clipLine(0, 0, 1), null);
  assert.deepEqual(clipLine(1, 0, -0.5), [0.5, -1, 0.5, 1]);
});

for (const activation of ["relu", "leaky_relu", "softplus", "tanh"]) {
  test(`lines of the second layer: its neurons are near 0 there (${activation})`, () => {
    const network = randomNetwork([2, 6, 5, 1], activation);
    const act = {
      relu: (z) => Math.max(z, 0), leaky_relu: (z) => Math.max(z, 0.01 * z),
      softplus: (z) => Math.log1p(Math.exp(z)), tanh: Math.tanh,
    }[activation];
    const { theta } = network;
    const input = (r, x, y) => {
      let sum = theta[18 + 30 + r];
      for (let c = 0; c < 6; c += 1) {
        sum += theta[18 + 6 * r + c] * act(theta[2 * c] * x + theta[2 * c + 1] * y + theta[12 + c]);
      }
      return sum;
    };
    const grid = makeGrid(96);
    const all = laterLayerLines(network, grid);
    assert.equal(all.length, 5);
    assert.ok(all.some((segments) => segments.length));
    all.forEach((segments, r) => {
      for (let k = 0; k < segments.length; k += 2) {
        // the zero lies on the same side of a cell: no further off than the slope allows
        const slope = Math.abs(input(r, segments[k] + 1e-4, segments[k + 1])
          - input(r, segments[k] - 1e-4, segments[k + 1])) / 2e-4
          + Math.abs(input(r, segments[k], segments[k + 1] + 1e-4)
          - input(r, segments[k], segments[k + 1] - 1e-4)) / 2e-4;
        const bend = theta.reduce((top, t) => Math.max(top, Math.abs(t)), 0) ** 2 * 6;
        assert.ok(Math.abs(input(r, segments[k], segments[k + 1])) <= (slope + bend) * grid.width);
      }
    });
  });
}

test("a network with one hidden layer has no later lines", () => {
  assert.deepEqual(laterLayerLines(randomNetwork([2, 5, 1], "relu"), makeGrid(16)), []);
});

test("contours of a cone are circles, and of a plane lines, exactly", () => {
  const grid = makeGrid(64);
  const cone = Float64Array.from({ length: 64 ** 2 }, (_, k) =>
    Math.hypot(grid.points[2 * k], grid.points[2 * k + 1]));
  const circle = contours(cone, 0.6, grid);
  assert.ok(circle.length > 4 * 100 && circle.length % 4 === 0);
  let length = 0;
  for (let k = 0; k < circle.length; k += 2) {
    // linear interpolation of a function with second derivative at most 1 / r
    assert.ok(Math.abs(Math.hypot(circle[k], circle[k + 1]) - 0.6) < grid.width ** 2 / 8 / 0.5);
    if (k % 4 === 0) length += Math.hypot(circle[k] - circle[k + 2], circle[k + 1] - circle[k + 3]);
  }
  assert.ok(Math.abs(length - 2 * Math.PI * 0.6) < 0.01);
  const plane = cone.map((_, k) => 2 * grid.points[2 * k] - grid.points[2 * k + 1]);
  const line = contours(plane, 0.3, grid);
  for (let k = 0; k < line.length; k += 2) {
    assert.ok(Math.abs(2 * line[k] - line[k + 1] - 0.3) < 1e-12);
  }
  assert.equal(contours(plane, 99, grid).length, 0);
});

test("modes are the cells above their eight neighbours", () => {
  const grid = makeGrid(40);
  const peaks = [[-0.51, 0.53, 1], [0.41, -0.22, 2], [0.71, 0.68, 0.5]];
  const values = Float64Array.from({ length: 1600 }, (_, k) => peaks.reduce((sum, [x, y, height]) =>
    sum + height * Math.exp(-((grid.points[2 * k] - x) ** 2 + (grid.points[2 * k + 1] - y) ** 2) / 0.02), 0));
  const found = modes(grid, values);
  assert.equal(found.length, 6);
  assert.equal(modes(grid, values, 1.2).length, 4); // the lowest lies 1.5 below
  assert.equal(modes(grid, values.map(() => 1)).length, 0); // a plateau has none
  [1, 0, 2].forEach((place, n) => { // highest first
    assert.ok(Math.abs(found[2 * n] - peaks[place][0]) <= grid.width / 2 + 1e-12);
    assert.ok(Math.abs(found[2 * n + 1] - peaks[place][1]) <= grid.width / 2 + 1e-12);
  });
});

test("the grid normalises, also what is large, and counts the upper edge", () => {
  const grid = makeGrid(20);
  const values = new Float64Array(400).fill(5000);
  const [logProb, prob] = [new Float64Array(400), new Float64Array(400)];
  const { logZ, entropy } = normalise(grid, values, logProb, prob);
  assert.ok(Math.abs(logZ - 5000 - Math.log(4)) < 1e-9);
  assert.ok(Math.abs(entropy - Math.log(4)) < 1e-9);
  assert.ok(Math.abs(prob.reduce((a, b) => a + b) - 1) < 1e-12);
  const share = shares(grid, Float64Array.of(1, 1, -1, -1, 0.999, -1, 1, 0));
  assert.equal(share[399], 0.25);
  assert.equal(share[0], 0.25);
  assert.ok(Math.abs(share.reduce((a, b) => a + b) - 1) < 1e-12);
});

for (const widths of [[2, 5, 1], [2, 64, 64, 1], [2, 1, 1, 1]]) {
  test(`weights survive their files to the last bit: ${widths}`, () => {
    const network = randomNetwork(widths, "softplus");
    assert.deepEqual(fromJSON(toJSON(network)), network);
    assert.deepEqual(fromSafetensors(toSafetensors(network)), network);
  });
}

test("files that are none are refused with words", () => {
  const network = randomNetwork([2, 5, 1], "tanh");
  const good = JSON.parse(toJSON(network));
  const refused = (change) => () => fromJSON(JSON.stringify({ ...good, ...change }));
  assert.throws(() => fromJSON("null"), RangeError);
  assert.throws(refused({ widths: [2, 1e9, 1] }), /at most 64/);
  assert.throws(refused({ widths: [3, 5, 1] }), /2 inputs/);
  assert.throws(refused({ widths: "abc" }), /2 inputs/);
  assert.throws(refused({ activation: "__proto__" }), /activation must be/);
  assert.throws(refused({ prior_sd: -1 }), /standard deviation/);
  assert.throws(refused({ weights: [1, 2] }), /21 weights are needed, there are 2/);
  assert.throws(refused({ weights: good.weights.map(() => null) }), /finite|numbers/);
  const bytes = toSafetensors(network);
  assert.throws(() => fromSafetensors(bytes.slice(0, 5)), /no safetensors/);
  assert.throws(() => fromSafetensors(bytes.slice(0, -8)), /missing, too short/);
  const long = bytes.slice();
  long.fill(255, 0, 8);
  assert.throws(() => fromSafetensors(long), /no safetensors/);
});
