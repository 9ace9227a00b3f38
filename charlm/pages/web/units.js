// The page of `charlm inspect --units --html`.
"use strict";

const percent = (share) => `${(100 * share).toFixed(0)}%`;
const decimal = (number) => `${number < 0 ? "−" : ""}${Math.abs(number).toFixed(3)}`;
const signed = (bits) => bits === null ? "–" : `${bits < 0 ? "" : "+"}${decimal(bits)}`;

// A text coloured by the values of a unit: three steps to each side of the median.
function coloured({ text, levels, words }) {
  const drawn = new ColouredText(Array.from(text), words);
  drawn.paint((place) => levelClass(Math.round(3 * levels[place])));
  return drawn.element;
}

function facts({ cost, words, knows, untrained }) {
  const parts = [];
  if (untrained !== undefined) {
    parts.push(`It knows ${percent(knows)} of this; with random weights, the best unit knows ` +
               `${percent(untrained)}.`);
  }
  if (cost) {
    parts.push(`Held at ${decimal(cost.held_at)}, the next character costs ` +
      `${signed(cost.everywhere)} bits more: ${signed(cost.there)} there, ` +
      `${signed(cost.elsewhere)} elsewhere, and ${signed(cost.random)} there with a random unit.`);
  }
  return make("p", { class: "note" }, parts.join(" "));
}

const tracking = (data.features ?? []).filter((each) => each.tracks);
const others = (data.features ?? []).filter((each) => !each.tracks);

find("#about").textContent = `${data.where}: ${thousands(data.characters)} characters. Model: ` +
  data.run + (data.units ? `, ${thousands(data.units)} units` : "");
if (tracking.length) {
  find("#found").append(
    make("h2", {}, "What they know, and whether it matters"),
    table(["unit", "tracks", "knows", "untrained", "more units", "there", "elsewhere", "random"],
      tracking.map((each) => [make("span", { class: "mono" }, each.unit), each.words,
        percent(each.knows), percent(each.untrained), String(each.more_units),
        make(each.matters ? "strong" : "span", {}, signed(each.cost?.there ?? null)),
        ...["elsewhere", "random"].map((key) => signed(each.cost?.[key] ?? null))]), 2),
    make("p", { class: "note" },
      `${WHAT_UNITS_KNOW} There, elsewhere: how many bits more the next character costs while ` +
      "the unit is held at its mean, where the text has the feature and where it does not. Random: " +
      "the median of random units, there. In bold: more than each of the random units."));
} else if (data.features) {
  find("#found").append(make("p", {}, "No unit tracks anything."));
}
for (const each of data.drawn) {
  find("#drawn").append(make("section", {},
    make("h2", {}, make("span", { class: "mono" }, each.unit), `: ${each.words}`),
    facts(each), levelLegend("low", "high"), coloured(each)));
}
if (data.features) {
  find("#rest").append(
    make("h2", {}, "The best units of the other features"),
    ...(others.length ? [table(["unit", "feature", "knows", "untrained"],
      others.map((each) => [make("span", { class: "mono" }, each.unit), each.words,
        percent(each.knows), percent(each.untrained)]), 2)] : []),
    ...(data.shuffled === null ? [] : [make("p", { class: "note" }, "Of the features of the " +
      `shuffled text, the best unit knows ${(100 * data.shuffled).toFixed(1)}%.`)]));
} else {
  const known = Object.entries(data.drawn[0].knows).slice(0, 8);
  find("#rest").append(make("h2", {}, "What the unit knows"),
    table(["feature", "knows"], known.map(([name, share]) => [name, percent(share)])));
}
