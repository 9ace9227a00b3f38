// The page of `charlm inspect --surprisal --html`.
"use strict";

const characters = Array.from(data.text);
const scores = { network: data.bits, ...(data.ngram_bits ? { "n-gram": data.ngram_bits } : {}) };
const { text, elements } = surprisalText(characters, scores, data.expected, "The text");

function places() {
  const order = data.bits.map((bits, place) => [bits ?? -1, place]).sort(([a], [b]) => b - a);
  const rows = order.slice(0, Math.min(10, characters.length - 1)).map(([bits, place]) => {
    const go = make("button", { type: "button", class: "mono" }, named(characters[place]));
    go.addEventListener("click", () => {
      text.show(place);
      text.spans[place].scrollIntoView({ block: "center" });
    });
    const expected = data.expected[place].slice(0, 3)
      .map(([character, share]) => `${named(character)} ${(100 * share).toFixed(0)}%`);
    return [make("span", { class: "mono" }, text.before(place)), go, bits.toFixed(1),
            ...(data.ngram_bits ? [data.ngram_bits[place].toFixed(1)] : []), expected.join(", ")];
  });
  const header = ["before", "character", "bits", ...(data.ngram_bits ? ["n-gram"] : []), "expected"];
  find("#places").append(make("h2", {}, "The most surprising characters"), table(header, rows, 2));
}

find("#what").textContent = `Each character is coloured by how little the model expected it. ${WHAT_BITS_ARE}`;
find("#about").textContent = `${data.where}: ${thousands(characters.length)} characters, ` +
  `${means(scores)}. Model: ${data.run}`;
find("#text").append(...elements);
places();
