// The page of `charlm inspect --surprisal --html`.
"use strict";

const characters = Array.from(data.text);
const scores = { network: data.bits, ...(data.ngram_bits ? { "n-gram": data.ngram_bits } : {}) };
let shown = "network";
let chosen = null;

const mean = (bits) => bits.slice(1).reduce((sum, each) => sum + each, 0) / (bits.length - 1);

const spans = characters.map((character, place) =>
  make("span", { "data-place": place }, character));

function paint() {
  spans.forEach((span, place) => {
    span.className = place ? bitsClass(scores[shown][place]) : "bits0";
    // A line end gets its sign only where it surprises.
    if (characters[place] === "\n") span.textContent = span.className === "bits0" ? "\n" : "↵\n";
  });
  if (chosen !== null) spans[chosen].classList.add("chosen");
  for (const button of find("#models").children) {
    button.setAttribute("aria-pressed", String(button.textContent === shown));
  }
}

// The distribution that the model had expected at a place; what it does not list is "others".
function choose(place) {
  if (place < 1 || place >= characters.length) return;
  if (chosen !== null) spans[chosen].classList.remove("chosen");
  chosen = place;
  spans[place].classList.add("chosen");
  const expected = data.expected[place];
  const rest = 1 - expected.reduce((sum, [, share]) => sum + share, 0);
  const others = rest > 0.0005 ? [["others", rest]] : [];
  const bits = Object.entries(scores).map(([name, each]) => `${name} ${each[place].toFixed(2)}`);
  find("#expected").replaceChildren(
    make("p", {}, "after ", make("span", { class: "mono" },
      visible(characters.slice(Math.max(0, place - 24), place).join(""))), " came ",
      make("strong", { class: "mono" }, visible(characters[place])), `; bits: ${bits.join(", ")}`),
    bars([...expected, ...others], "pairs"));
}

function places() {
  const order = data.bits.map((bits, place) => [bits ?? -1, place]).sort(([a], [b]) => b - a);
  const rows = order.slice(0, Math.min(10, characters.length - 1)).map(([bits, place]) => {
    const before = visible(characters.slice(Math.max(0, place - 24), place).join(""));
    const go = make("button", {}, visible(characters[place]));
    go.addEventListener("click", () => {
      choose(place);
      spans[place].scrollIntoView({ block: "center" });
    });
    const expected = data.expected[place].slice(0, 3)
      .map(([character, share]) => `${visible(character)} ${(100 * share).toFixed(0)}%`);
    return [make("span", { class: "mono" }, before), go, bits.toFixed(1),
            ...(data.ngram_bits ? [data.ngram_bits[place].toFixed(1)] : []), expected.join(", ")];
  });
  const header = ["before", "character", "bits", ...(data.ngram_bits ? ["n-gram"] : []), "expected"];
  find("#places").append(make("h2", {}, "The most surprising characters"), table(header, rows, 2));
}

find("#about").textContent = `${data.where}: ${thousands(characters.length)} characters, ` +
  Object.entries(scores).map(([name, bits]) => `${name} ${mean(bits).toFixed(3)}`).join(", ") +
  " bits per character. Model: " + data.run;
find("#legend").append("bits: ", ...STEPS.map((least, step) => make("span",
  { class: `bits${step + 1}` }, step < 3 ? ` ${least}–${STEPS[step + 1]} ` : ` ${least} and more `))
  .flatMap((span) => [span, " "]));
if (data.ngram_bits) {
  find("#models").append("Coloured by: ", ...Object.keys(scores).map((name) => {
    const button = make("button", {}, name);
    button.addEventListener("click", () => { shown = name; paint(); });
    return button;
  }));
}
find("#text").append(...spans);
const place = (event) => event.target.dataset?.place;
find("#text").addEventListener("pointerover", (event) => place(event) && choose(Number(place(event))));
find("#text").addEventListener("click", (event) => place(event) && choose(Number(place(event))));
find("#text").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) { event.preventDefault(); choose((chosen ?? 0) + step); }
});
paint();
places();
