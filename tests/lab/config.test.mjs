/** The address: it round-trips, and nothing that it holds gets past the allowed values. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  clampConfig, decode, defaultConfig, encode, LONGEST, SHARED, SIDE, VIEW,
} from "../../ebmlib/widgets/lab/core/config.mjs";
import {
  blankDrawing, decodeDrawing, DRAWING_PATTERN, encodeDrawing,
} from "../../ebmlib/widgets/lab/core/density.mjs";
import { PRESETS } from "../../ebmlib/widgets/lab/core/presets.mjs";
import { stream } from "../../ebmlib/widgets/lab/core/streams.mjs";

/** Every value in a configuration is one that its schema allows. */
function assertAllowed(config) {
  const check = (schema, values) => {
    assert.deepEqual(Object.keys(values), Object.keys(schema));
    for (const [name, { values: allowed, range, pattern, many }] of Object.entries(schema)) {
      const value = values[name];
      if (pattern) assert.match(value, pattern);
      else if (range) assert.ok(Number.isInteger(value) && value >= range[0] && value <= range[1]);
      else if (many) assert.ok(value.every((word) => allowed.includes(word)));
      else assert.ok(allowed.includes(value), `${name} is ${value}`);
    }
  };
  const { a, b, view, ...shared } = config;
  check(SHARED, shared);
  check(SIDE, a);
  if (b !== null) check(SIDE, b);
  check(VIEW, view);
}

/** A random allowed configuration. */
function random(uniform) {
  const pick = (list) => list[Math.floor(uniform() * list.length)];
  const fill = (schema) => Object.fromEntries(Object.entries(schema).map(([name, option]) => {
    if (option.pattern) {
      const cells = blankDrawing().map(() => Math.floor(4 * uniform()));
      return [name, uniform() < 0.5 ? "" : encodeDrawing(cells)];
    }
    if (option.range) return [name, Math.floor(uniform() * (option.range[1] + 1))];
    if (option.many) return [name, option.values.filter(() => uniform() < 0.5)];
    return [name, pick(option.values)];
  }));
  return clampConfig({
    ...fill(SHARED), a: fill(SIDE), b: uniform() < 0.5 ? fill(SIDE) : null, view: fill(VIEW),
  });
}

test("keys are short and unique, defaults are allowed", () => {
  for (const schema of [SHARED, SIDE, VIEW]) {
    for (const { key, label, help } of Object.values(schema)) {
      assert.match(key, /^[a-z]$/);
      assert.ok(label && help.endsWith("."));
    }
  }
  const keys = [SHARED, SIDE, VIEW].flatMap((s) => Object.values(s).map(({ key }) => key));
  assert.equal(new Set(keys).size, keys.length);
  assertAllowed(defaultConfig());
  assert.equal(encode(defaultConfig()), "");
});

test("every configuration survives the address", () => {
  const { uniform } = stream(1, 9);
  for (let k = 0; k < 500; k += 1) {
    const config = random(uniform);
    assertAllowed(config);
    const text = encode(config);
    assert.match(text, /^[\w.=&%-]*$/);
    assert.ok(text.length < LONGEST);
    assert.deepEqual(decode(`#${text}`), config);
  }
  for (const { config } of PRESETS) assert.deepEqual(decode(encode(config)), config);
});

test("a hostile address gives an allowed configuration", () => {
  const hostile = [
    "d=<script>alert(1)</script>", "d=javascript:alert(1)", "d=__proto__&m=constructor",
    "k=1e309&s=-1&c=NaN&r=-5", "c=1000000000", "w=64.5&u=Infinity", "n=%00&g=%E0%A4%A",
    "y=data.<img src=x onerror=alert(1)>.__proto__", "2=1&2.m=toString&2.w=1e9",
    "z=AAAA", `z=${"A".repeat(192)}&d=drawn`, `z=${"!".repeat(192)}`, "&&&&=&=1&d", "%",
    `d=${"star&".repeat(1e6)}`, "hasOwnProperty=1&__proto__=1&k=", "\u0000\ud800", "r=1e3.5",
  ];
  for (const text of hostile) {
    const config = decode(text);
    assertAllowed(config);
    assert.doesNotMatch(encode(config), /[<>:"']/);
  }
  assert.equal(Object.prototype.polluted, undefined);
});

test("random bytes give an allowed configuration", () => {
  const { uniform } = stream(2, 9);
  const letters = "dzngrmkstcwuaiplehbvyf2.=&%#0123456789-eE+xNaInf<>\"'";
  for (let k = 0; k < 2000; k += 1) {
    const text = Array.from({ length: Math.floor(60 * uniform()) }, () =>
      letters[Math.floor(uniform() * letters.length)]).join("");
    assertAllowed(decode(text));
  }
});

test("anything at all can be clamped", () => {
  const odd = [undefined, null, 3, "star", [], { a: 1, b: "x", view: [] }, { a: { lr: "0.1" } },
    { seed: NaN }, { data: Symbol("x") }, { view: { layers: { includes: 1 } } },
    JSON.parse("{\"__proto__\": {\"data\": \"star\"}, \"b\": {}}")];
  for (const given of odd) assertAllowed(clampConfig(given));
  assert.equal(clampConfig({ a: { lr: 0.04, chains: 9999 } }).a.chains, 1024);
  assert.equal(clampConfig({ a: { temperature: 0 } }).a.temperature, 0.01);
  assert.equal(clampConfig({ data: "drawn" }).data, "ring"); // nothing is drawn
});

test("a drawing survives its text", () => {
  const { uniform } = stream(4, 9);
  const cells = blankDrawing().map(() => Math.floor(4 * uniform()));
  const text = encodeDrawing(cells);
  assert.match(text, DRAWING_PATTERN);
  assert.deepEqual(decodeDrawing(text), cells);
  assert.equal(encodeDrawing(blankDrawing()), "");
  assert.deepEqual(decodeDrawing("A".repeat(192)), blankDrawing());
});
