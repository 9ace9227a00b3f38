// The engine of a page that is the model: it answers the playground as `charlm serve` does.
"use strict";

const FRAME = 33; // milliseconds between two parts of a text
const BUSY = 20; // of them are spent on computing
const LIKELY = 10; // characters of each distribution

const about = data.model;
const model = new PlainModel(about, unpack(data.layout, data.weights));
const ids = new Map(about.characters.map((character, place) => [character, place + 1]));
const characterOf = (id) => id ? about.characters[id - 1] : "\ufffd";

// Lets the page draw and answer after each moment of computing.
class Clock {
  constructor() { this.until = performance.now() + BUSY; }
  late() { return performance.now() > this.until; }
  async pause() {
    await new Promise((done) => { setTimeout(done, FRAME - BUSY); });
    this.until = performance.now() + BUSY;
  }
}

// What charlm does to a corpus and to all texts that are read; charlm/corpus/cleaning.py.
const CLEANINGS = {
  letters: (text) => text.split(/[\r\n]/)
    .map((line) => line.replace(/[^A-Za-z]+/g, " ").trim().toLowerCase()).join(""),
  spaces: (text) => text.replace(/[\r\n]/g, " "),
  trim: (text) => text.split("\n").map((line) => line.replace(/^ +| +$/g, "")).join("\n"),
  none: (text) => text,
};

// A text as it is read: cleaned, as characters, with what the user should know of it.
function cleaned(given, what) {
  const text = CLEANINGS[about.cleaning](given), notices = [];
  if (about.before && text.includes(about.before)) {
    throw new Error(`this model reads single lines, and the ${what} has a line end`);
  }
  if (text !== given) notices.push(`the ${what} was cleaned as the corpus was (${about.cleaning})`);
  const characters = Array.from(text);
  const unknown = [...new Set(characters.filter((character) => !ids.has(character)))];
  if (unknown.length) {
    notices.push(`not in the vocabulary, the model reads <unk> instead: ${unknown.slice(0, 10).map(visible).join(" ")}`);
  }
  return { text, characters, notices };
}

const encode = (characters) => Array.from(characters, (character) => ids.get(character) ?? 0);

// The most probable characters: what they are drawn with, and what the model itself gives them.
function distribution(logits, drawn, token) {
  const own = softmax(logits);
  const likely = ranked(logits).filter((id) => id).slice(0, LIKELY);
  if (!likely.includes(token)) likely.push(token);
  return { likely: likely.map(characterOf), drawn: likely.map((id) => drawn[id]),
           own: likely.map((id) => own[id]) };
}

const engine = {
  // Continue a prefix and what is written after it; the parts of the answer as they come.
  async* write({ prefix, written, seed, length, ...decoding }, signal) {
    const given = cleaned(prefix, "prefix");
    yield { text: given.text + written, notices: given.notices, seed };
    const start = about.before + given.text;
    const read = [...(start ? encode(start) : about.start), ...encode(written)];
    const uniform = random(seed), clock = new Clock();
    let states = model.first(), logits;
    for (const id of read) {
      ({ logits, states } = model.step(id, states));
      if (clock.late()) await clock.pause();
      if (signal?.aborted) return;
    }
    for (let steps = [], left = length; ; left--) {
      const drawn = probabilities(logits, decoding), token = draw(drawn, uniform());
      const found = distribution(logits, drawn, token), character = characterOf(token);
      const ended = character === about.before;
      const last = ended || !left;
      if (last || clock.late()) {
        yield { steps };
        steps = [];
        if (last) return yield { next: found, end: ended ? "line" : "length" };
        await clock.pause();
        if (signal?.aborted) return;
      }
      steps.push({ character, ...found });
      ({ logits, states } = model.step(token, states));
    }
  },

  // The bits of each character of a text, and what the model had expected in its place.
  async surprisal({ text }, signal) {
    const { characters, notices } = cleaned(text, "text");
    const all = [...about.before, ...characters], read = encode(all);
    if (all.length < 2) throw new Error("surprisal needs at least two characters");
    const bits = [null], expected = [null], clock = new Clock();
    let states = model.first(), logits;
    for (let place = 1; place < read.length; place++) {
      ({ logits, states } = model.step(read[place - 1], states));
      const shares = softmax(logits), id = read[place];
      bits.push(-Math.log2(shares[id]) + (id ? 0 : about.spelling_nats / Math.LN2));
      expected.push(ranked(shares).slice(0, LIKELY).map((each) => [characterOf(each), shares[each]]));
      if (clock.late()) await clock.pause();
      if (signal?.aborted) return null;
    }
    const skip = about.before.length;
    return { characters, bits: bits.slice(skip), expected: expected.slice(skip), notices,
             bits_per_char: bits.reduce((sum, each) => sum + each, 0) / (bits.length - 1) };
  },
};
