// The page of `charlm inspect --attribution --html`.
"use strict";

const characters = Array.from(data.text);
const percent = (share) => `${share >= 0.001 ? (100 * share).toFixed(1) : (100 * share).toPrecision(1)}%`;
const signed = (bits) => `${bits < 0 ? "−" : "+"}${Math.abs(bits).toFixed(3)}`;
const count = (number, name) => `${thousands(number)} ${name}${number === 1 ? "" : "s"}`;

const panel = make("div", { class: "screen", "aria-live": "polite" }, make("p", { class: "note" },
  "Point at a character, tap it, or move with the arrow keys, to see what it adds."));
const text = new ColouredText(characters, "The text before the prediction", (place) =>
  panel.replaceChildren(make("p", {}, make("strong", { class: "mono" }, named(characters[place])),
    `, ${count(characters.length - place, "character")} back: ${signed(data.bits[place])} bits`)));
text.paint((place) => levelClass(data.levels[place]));
text.element.append(make("span", { class: "predicted" }, named(data.character)));

find("#what").append("The model gives ", make("strong", { class: "mono" }, named(data.character)),
  ` a probability of ${percent(data.probability)} after this text, and of ` +
  `${percent(data.probability_without_text)} after as many average characters. The colours show ` +
  "which characters make the difference: what each adds to log2 of the probability, in bits. One " +
  "bit doubles the probability.");
find("#about").textContent = `${data.where}. Model: ${data.run}`;
find("#text").append(levelLegend("lowers it", "raises it"), panel, text.element);

const order = data.bits.map((bits, place) => [Math.abs(bits), place]).sort(([a], [b]) => b - a);
const rows = order.slice(0, 10).map(([, place]) => [
  make("span", { class: "mono" }, text.before(place, 16)),
  make("span", { class: "mono" }, named(characters[place])),
  signed(data.bits[place]), thousands(characters.length - place)]);
const others = order.slice(10);
if (others.length) {
  rows.push([count(others.length, "other"), "",
             signed(others.reduce((sum, [, place]) => sum + data.bits[place], 0)), ""]);
}
rows.push(["together", "", signed(data.together), ""]);
find("#listed").append(make("h2", {}, "The characters that add most, or take most away"),
  table(["before", "character", "bits", "back"], rows, 2));
