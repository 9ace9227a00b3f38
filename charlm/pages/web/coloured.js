// Coloured texts, of which one character at a time is chosen; the pages share them.
"use strict";

// A text of one <span> for each character. With `choose`, pointing, a tap or the arrow keys call it
// with the place of a character.
class ColouredText {
  constructor(characters, label, choose) {
    this.characters = characters;
    this.chosen = null;
    this.choose = choose;
    this.spans = characters.map(characterSpan);
    this.element = make("div", { class: "text", role: "group", "aria-label": label }, ...this.spans);
    if (!choose) return;
    this.element.tabIndex = 0;
    this.element.ariaLabel = `${label}; arrow keys move in it`;
    const point = ({ target }) => target.dataset.place && this.show(Number(target.dataset.place));
    this.element.addEventListener("pointerover", point);
    this.element.addEventListener("click", point);
    this.element.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      this.show((this.chosen ?? -1) + by);
      this.spans[this.chosen]?.scrollIntoView({ block: "nearest" });
    });
  }

  // The class of each character, "" for none.
  paint(classOf) {
    this.spans.forEach((span, place) => {
      span.className = classOf(place);
      // A line end has no width of its own; its sign carries the colour.
      if (this.characters[place] === "\n") span.textContent = span.className ? "↵\n" : "\n";
    });
    this.spans[this.chosen]?.classList.add("chosen");
  }

  show(place) {
    if (!(place >= 0 && place < this.spans.length)) return;
    this.spans[this.chosen]?.classList.remove("chosen");
    this.chosen = place;
    this.spans[place].classList.add("chosen");
    this.choose(place);
  }

  before(place, count = 24) {
    return visible(this.characters.slice(Math.max(0, place - count), place).join(""));
  }
}

// A text coloured by bits, with what is before it: means, legend, and the distribution that the
// model had expected at the chosen place. `scores`: the bits of the network, and maybe an n-gram's.
function surprisalText(characters, scores, expected, label) {
  const hint = make("p", { class: "note screen" }, "Point at a character, tap it, or move with the " +
    "arrow keys, to see what the model had expected. At first it is the one that costs most.");
  const panel = make("div", { class: "expected screen", "aria-live": "polite" });
  const text = new ColouredText(characters, label, (place) => {
    if (scores.network[place] === null) {
      panel.replaceChildren(make("p", {}, "the first character is not predicted"));
      return;
    }
    const rest = 1 - expected[place].reduce((sum, [, share]) => sum + share, 0);
    const bits = Object.entries(scores).map(([name, each]) => `${name} ${each[place].toFixed(2)}`);
    panel.replaceChildren(
      make("p", {}, "after ", make("span", { class: "mono" }, text.before(place)), " came ",
        make("strong", { class: "mono" }, named(characters[place])),
        `; bits: ${bits.join(", ")}; the network had expected`),
      bars([...expected[place], ...(rest > 0.0005 ? [["others", rest]] : [])], "pairs"));
  });
  const paint = (name) => {
    text.paint((place) => {
      const bits = scores[name][place];
      return bits === null || bits < STEPS[0] ? "" : bitsClass(bits);
    });
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.textContent === name));
    }
  };
  const buttons = Object.keys(scores).map((name) => {
    const button = make("button", { type: "button" }, name);
    button.addEventListener("click", () => paint(name));
    return button;
  });
  const several = buttons.length < 2 ? [] : [make("p", { class: "screen buttons", role: "group",
    "aria-label": "Coloured by" }, "Coloured by: ", ...buttons)];
  const legend = make("p", { class: "legend" }, "bits: ", ...STEPS.flatMap((least, step) => [
    make("span", { class: `bits${step + 1}` },
      step < 3 ? `${least}–${STEPS[step + 1]}` : `${least} and more`), " "]));
  paint("network");
  text.show(scores.network.reduce((most, bits, place, all) => (bits > all[most] ? place : most), 0));
  return { text, elements: [legend, ...several, hint, panel, text.element] };
}

const mean = (bits) => {
  const known = bits.filter((each) => each !== null);
  return known.reduce((sum, each) => sum + each, 0) / known.length;
};

// "network 1.563, n-gram 1.819 bits per character"
const means = (scores) => Object.entries(scores)
  .map(([name, bits]) => `${name} ${mean(bits).toFixed(3)}`).join(", ") + " bits per character";

// What a character costs, for people who see it for the first time.
const WHAT_BITS_ARE = "A character costs few bits where the model expects it: 0 if it is certain, " +
  "1 if it is one of two equally likely ones, and one more each time its probability is halved.";

const WHAT_UNITS_KNOW = "Knows: how much of the feature's entropy the value of the unit explains. " +
  "Untrained: the same for the best unit of a network with random weights.";

// Low to high values in seven steps, as of the classes low3 to high3.
const levelClass = (level) => (level ? `${level < 0 ? "low" : "high"}${Math.abs(level)}` : "");
const levelLegend = (low, high) => make("p", { class: "legend" }, `${low} `,
  ...[-3, -2, -1, 0, 1, 2, 3].map((level) => make("span", { class: levelClass(level) }, "\u00a0")),
  ` ${high}`);
