/** What the Lab's tests share. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

/** What PyTorch and ebmlib say (make_fixtures.py). */
export const fixtures = JSON.parse(readFileSync(new URL("fixtures.json", import.meta.url), "utf8"));

/** Largest difference of two lists, relative to the largest number expected. */
export function gap(actual, expected) {
  assert.equal(actual.length, expected.length);
  let [most, top] = [0, 0];
  expected.forEach((value, k) => {
    assert.ok(Number.isFinite(actual[k]), `number ${k} is ${actual[k]}`);
    most = Math.max(most, Math.abs(actual[k] - value));
    top = Math.max(top, Math.abs(value));
  });
  return most / (top || 1);
}

export const TOLERANCE = 1e-10;

/** Equal to 1e-10 of the largest number; the difference is remembered for the report. */
export function agree(actual, expected, what) {
  const difference = gap(actual, expected);
  agree.worst.set(what, Math.max(difference, agree.worst.get(what) ?? 0));
  assert.ok(difference <= TOLERANCE, `${what}: relative difference ${difference}`);
}
agree.worst = new Map();

/** The mean and its standard error. */
export function meanAndError(values) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const square = values.reduce((a, b) => a + (b - mean) ** 2, 0) / (values.length - 1);
  return [mean, Math.sqrt(square / values.length)];
}
