// The engine of a page that is the model itself: it answers as the server of `charlm serve` does.
"use strict";

const FRAME = 33; // milliseconds between two parts of a text
const BUSY = 20; // of them are spent on computing
const ALTERNATIVES = 10, EXPECTED = 5;

const about = data.model;
const model = new PlainModel(about, unpack(data.layout, data.weights));
const ids = new Map(about.characters.map((character, place) => [character, place + 1]));
const characterOf = (id) => id ? about.characters[id - 1] : "\ufffd";
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

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
  if (text !== given) notices.push(`the ${what} was cleaned as the corpus was (${about.cleaning})`);
  const characters = Array.from(text);
  const unknown = [...new Set(characters.filter((character) => !ids.has(character)))];
  if (unknown.length) {
    notices.push(`not in the vocabulary, the model reads <unk> instead: ${unknown.slice(0, 10).join(" ")}`);
  }
  return { text, characters, notices };
}

const encode = (characters) => Array.from(characters, (character) => ids.get(character) ?? 0);

// The most probable characters: what they are drawn with, and what the model itself gives them.
function distribution(logits, drawn, token) {
  const own = softmax(logits);
  const likely = ranked(logits).filter((id) => id).slice(0, ALTERNATIVES);
  if (!likely.includes(token)) likely.push(token);
  return { likely: likely.map(characterOf), drawn: likely.map((id) => drawn[id]),
           own: likely.map((id) => own[id]) };
}

const engine = {
  async runs() {
    return [{ name: about.run, cell: about.cell, parameters: about.parameters, corpus: about.corpus,
              prefix: about.prefix, characters: about.characters.length,
              lines: about.before !== "", mixture: null }];
  },

  // Continue a prefix and what is written after it; calls onFrame with the parts of the answer.
  async start({ prefix, written = "", temperature, topK, topP, seed, length, signal }, onFrame) {
    const read = cleaned(prefix, "prefix"), decoding = { temperature, topK, topP };
    onFrame({ text: read.text + written, notices: read.notices, seed });
    const first = about.before || read.text ? encode(about.before + read.text) : about.start;
    const reads = [...first, ...encode(written)], uniform = random(seed);
    let states = model.first(), logits, left = length, until = performance.now() + BUSY;
    const wait = async () => {
      await pause(FRAME - BUSY);
      until = performance.now() + BUSY;
    };
    const next = (id) => ({ logits, states } = model.step(id, states));
    for (const id of reads) {
      next(id);
      if (performance.now() > until) await wait();
      if (signal?.aborted) return;
    }
    for (;;) {
      const steps = [];
      while (performance.now() < until || !steps.length) {
        const drawn = probabilities(logits, decoding), token = draw(drawn, uniform());
        const found = distribution(logits, drawn, token);
        const ended = about.before !== "" && characterOf(token) === about.before;
        if (!left || ended) {
          if (steps.length) onFrame({ steps });
          onFrame({ next: found, end: ended ? "line" : "length" });
          return;
        }
        steps.push({ character: characterOf(token), ...found });
        next(token);
        left--;
      }
      onFrame({ steps });
      await wait();
      if (signal?.aborted) return;
    }
  },

  // The bits of each character of a text, and what the model expected in its place.
  async surprisal({ text, signal }) {
    const { characters, notices } = cleaned(text, "text");
    const all = [...about.before, ...characters], read = encode(all);
    if (all.length < 2) throw new Error("surprisal needs at least two characters");
    const bits = [null], expected = [null];
    let states = model.first(), logits, until = performance.now() + BUSY;
    for (let place = 1; place < read.length; place++) {
      ({ logits, states } = model.step(read[place - 1], states));
      const shares = softmax(logits), id = read[place];
      bits.push(-Math.log2(shares[id]) + (id ? 0 : about.spelling_nats / Math.LN2));
      expected.push(ranked(shares).slice(0, EXPECTED).map((each) => [characterOf(each), shares[each]]));
      if (performance.now() > until) {
        await pause(0);
        until = performance.now() + BUSY;
        if (signal?.aborted) return null;
      }
    }
    const skip = about.before.length;
    return { characters, bits: bits.slice(skip), expected: expected.slice(skip), notices,
             bits_per_char: bits.slice(1).reduce((sum, each) => sum + each, 0) / (bits.length - 1) };
  },
};

window.charlm = { model, engine, probabilities, clean: CLEANINGS };
