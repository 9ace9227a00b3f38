// A language model in plain JavaScript. `data.model` has the list of operations that are one step,
// `data.layout` and `data.weights` the arrays; charlm/recurrent/plain_numpy.py does the same.
"use strict";

const BASE = 1000003n, SPREAD = -7046029254386353131n; // of the hash of an n-gram

// The arrays by name: those of whole numbers have 16 bits and a scale for each column.
function unpack(layout, weights) {
  const bytes = Uint8Array.from(atob(weights), (character) => character.charCodeAt(0)).buffer;
  const size = (shape) => shape.reduce((product, each) => product * each, 1);
  const arrays = new Map();
  let floats = 0;
  const take = (count) => {
    floats += count;
    return new Float32Array(bytes, 4 * (floats - count), count);
  };
  const scales = layout.map(([name, shape, scaled]) => {
    const taken = take(scaled ? shape.at(-1) : size(shape));
    if (!scaled) arrays.set(name, { shape, values: taken });
    return taken;
  });
  let start = 4 * floats;
  layout.forEach(([name, shape, scaled], number) => {
    if (!scaled) return;
    const whole = new Int16Array(bytes, start, size(shape)), scale = scales[number];
    const values = Float32Array.from(whole, (each, place) => each * scale[place % scale.length]);
    arrays.set(name, { shape, values });
    start += whole.byteLength;
  });
  return arrays;
}

// out += x W; W has a row for each number in x. Four rows at a time, for speed.
function addProduct(out, x, w) {
  const size = out.length;
  for (let row = 0; row < x.length; row += 4) {
    const a = x[row], b = x[row + 1] ?? 0, c = x[row + 2] ?? 0, d = x[row + 3] ?? 0;
    if (a === 0 && b === 0 && c === 0 && d === 0) continue; // most numbers of a one-hot vector
    const p = row * size, q = b ? p + size : p, r = c ? p + 2 * size : p, s = d ? p + 3 * size : p;
    for (let j = 0; j < size; j++) {
      out[j] += a * w[p + j] + b * w[q + j] + c * w[r + j] + d * w[s + j];
    }
  }
}

// out += x W^T; W has a row for each number in out.
function addTransposed(out, x, w) {
  for (let row = 0; row < out.length; row++) {
    const start = row * x.length;
    let sum = 0;
    for (let k = 0; k < x.length; k++) sum += x[k] * w[start + k];
    out[row] += sum;
  }
}

const product = (add) => (out, [x, w, b]) => {
  if (b) out.set(b); else out.fill(0);
  add(out, x, w);
};
const each = (compute) => (out, [a, b]) => {
  for (let j = 0; j < out.length; j++) out[j] = compute(a[j], b?.[j]);
};

// Each writes its result to `out`. The inputs are arrays of numbers; an id is an array of one.
const OPERATIONS = {
  gather: (out, [table, [id]]) => out.set(table.subarray(id * out.length, (id + 1) * out.length)),
  one_hot: (out, [[id]]) => { out.fill(0); out[id] = 1; },
  column: (out, [[id]]) => { out[0] = id; },
  linear: product(addProduct),
  linear_t: product(addTransposed),
  add: each((a, b) => a + b),
  sub: each((a, b) => a - b),
  mul: each((a, b) => a * b),
  sigmoid: each((a) => 1 / (1 + Math.exp(-a))),
  tanh: each(Math.tanh),
  relu: each((a) => Math.max(a, 0)),
  log_sigmoid: each((a) => Math.min(a, 0) - Math.log1p(Math.exp(-Math.abs(a)))),
  layer_norm(out, [x, gain], [epsilon]) {
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
    const scale = 1 / Math.sqrt(variance + epsilon);
    for (let j = 0; j < out.length; j++) out[j] = gain[j] * (x[j] - mean) * scale;
  },
  concat(out, parts) {
    let start = 0;
    for (const part of parts) { out.set(part, start); start += part.length; }
  },
  ngrams(out, [table, [id], previous], [lengths, rows]) {
    out.fill(0);
    let value = BigInt(id);
    for (let n = 0; n < lengths; n++) {
      value = BigInt.asIntN(64, value * BASE + BigInt(previous[lengths - 1 - n]) + 1n);
      const high = BigInt.asIntN(64, value * SPREAD) >> 32n, many = BigInt(rows);
      const row = Number(((high % many) + many) % many) + n * rows;
      for (let j = 0; j < out.length; j++) out[j] += table[row * out.length + j];
    }
  },
};

class PlainModel {
  constructor(about, arrays) {
    this.about = about;
    // Every value has its place in memory from the start; a slice is a part of another value.
    const values = new Map([...arrays].map(([name, array]) => [name, array.values]));
    this.id = new Int32Array(1);
    values.set("ids", this.id);
    for (const [name, size] of Object.entries(about.states)) values.set(name, new Float32Array(size));
    this.run = [];
    for (const [name, output, size, inputs, numbers] of about.operations) {
      const given = inputs.map((input) => {
        const value = values.get(input), single = arrays.get(input)?.shape.length === 0;
        return single ? new Float32Array(size).fill(value[0]) : value;
      });
      if (name === "slice") { values.set(output, given[0].subarray(...numbers)); continue; }
      const out = new Float32Array(size), compute = OPERATIONS[name];
      values.set(output, out);
      this.run.push(() => compute(out, given, numbers));
    }
    this.states = Object.keys(about.states).map((name) => values.get(name));
    this.next = about.next.map((name) => values.get(name));
    this.logits = values.get(about.logits);
  }

  first() { return this.states.map((state) => new Float32Array(state.length)); }

  // The logits of the next character after an id, and the next states.
  step(id, states) {
    this.id[0] = id;
    states.forEach((state, number) => this.states[number].set(state));
    for (const compute of this.run) compute();
    return { logits: this.logits.slice(), states: this.next.map((value) => value.slice()) };
  }
}

// The probabilities of the logits with a temperature.
function softmax(logits, temperature = 1) {
  const highest = logits.reduce((most, logit) => Math.max(most, logit), -Infinity);
  const odds = Float64Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const sum = odds.reduce((total, odd) => total + odd, 0);
  return odds.map((odd) => odd / sum);
}

// The ids from the greatest number to the least; equal ones by their ids.
const ranked = (numbers) => Array.from(numbers, (_, id) => id)
  .sort((a, b) => numbers[b] - numbers[a] || a - b);

// The probabilities that a character is drawn from; charlm's `Decoding` is the same.
function probabilities(logits, { temperature, top_k, top_p }) {
  const known = Float64Array.from(logits);
  known[0] = -Infinity; // <unk> is not a character
  if (temperature === 0) top_k = 1;
  if (top_k !== null) for (const id of ranked(known).slice(top_k)) known[id] = -Infinity;
  const found = softmax(known, temperature || 1);
  if (top_p !== null && top_p < 1) {
    let before = 0;
    for (const id of ranked(found)) {
      const share = found[id];
      if (before >= top_p) found[id] = 0;
      before += share;
    }
  }
  const sum = found.reduce((total, share) => total + share, 0);
  return found.map((share) => share / sum);
}

// Numbers from 0 to 1 that follow from a seed: mulberry32 (Ettinger 2017, public domain).
function random(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

// The first id whose probability, together with those of all lower ids, is above a number.
function draw(shares, uniform) {
  let sum = 0;
  const found = shares.findIndex((share) => (sum += share) > uniform);
  return found > 0 ? found : shares.findLastIndex((share) => share > 0);
}
