// The playground's measurements of the user's own text.
"use strict";

let measuring = null;
const tell = (message) => { find("#own-error").textContent = message; };

// Ask each model in turn, and show what `draw` makes of its answer.
async function measure(ask, draw, more = {}) {
  measuring?.abort();
  const { signal } = measuring = new AbortController();
  tell("");
  find("#measured").replaceChildren(make("p", { class: "note", role: "status" }, "measuring"));
  const sections = [];
  for (const column of columns) {
    const run = data.runs.indexOf(column.run);
    try {
      const found = await ask({ run, text: find("#own").value, ...more }, signal);
      const notice = make("p", { class: "notice" }, found.notices.join("; "));
      sections.push(make("section", {}, make("h3", {}, column.run.name), notice, ...draw(found)));
    } catch (error) {
      if (signal.aborted) return;
      tell(error.message);
    }
  }
  const name = sections.length > 1 ? "columns two" : "columns";
  find("#measured").replaceChildren(make("div", { class: name }, ...sections));
}

// The text coloured by bits; a character that is selected shows what the model had expected.
function drawSurprisal({ characters, bits, ngram_bits, expected }) {
  const scores = { network: bits, ...(ngram_bits ? { "n-gram": ngram_bits } : {}) };
  return [make("p", { class: "note" }, `${means(scores)}. ${WHAT_BITS_ARE}`),
          ...surprisalText(characters, scores, expected, "Your text").elements];
}

// The text coloured by the values of a unit; buttons choose one of several.
function drawUnits({ characters, units }) {
  if (!units.length) return [make("p", {}, "no unit tracks anything in this text")];
  const text = new ColouredText(characters, "Your text");
  const buttons = units.map(({ unit }, number) => {
    const button = make("button", { type: "button", class: "mono" }, unit);
    button.addEventListener("click", () => choose(number));
    return button;
  });
  const choose = (number) => {
    buttons.forEach((button, each) => button.setAttribute("aria-pressed", String(each === number)));
    text.paint((place) => levelClass(units[number].levels[place]));
  };
  choose(0);
  const percent = (share) => `${(100 * share).toFixed(0)}%`;
  const rows = units.map(({ tracks, knows, untrained }, number) =>
    [buttons[number], tracks, percent(knows), percent(untrained)]);
  return [...(units[0].tracks ? [table(["unit", "tracks", "knows", "untrained"], rows, 2),
                                 make("p", { class: "note" }, WHAT_UNITS_KNOW)] : []),
    levelLegend("low", "high"), text.element];
}

// The text with its copied passages marked, and a table of them.
function drawCopies({ characters, copied_windows, passages, shortest, train_characters }) {
  const copied = characters.map(() => false);
  for (const { start, length } of passages) copied.fill(true, start, start + length);
  const pieces = [];
  characters.forEach((character, place) => {
    if (!place || copied[place] !== copied[place - 1]) pieces.push([copied[place], ""]);
    pieces.at(-1)[1] += character;
  });
  const text = make("div", { class: "text" }, ...pieces.map(([marked, piece]) =>
    make("span", { class: marked ? "bits2" : "" }, piece)));
  const share = (value) => (value === null ? "too short" : `${(100 * value).toFixed(1)}%`);
  const windows = Object.entries(copied_windows).map(([window, value]) =>
    [`windows of ${window} characters`, share(value)]);
  const rows = passages.slice(0, 10).map(({ start, length, place }) => [
    make("span", { class: "mono" }, visible(characters.slice(start, start + Math.min(length, 60))
      .join("")) + (length > 60 ? "…" : "")), thousands(length), thousands(place + 1)]);
  return [text, table(["of the training text", "copied"], windows),
    ...(rows.length ? [table(["passage", "characters", `place in ${thousands(train_characters)}`], rows)]
      : [make("p", { class: "note" }, `no passage of ${shortest} or more characters is copied`)])];
}

find("#surprisal").addEventListener("click", () => measure(engine.surprisal, drawSurprisal));
find("#units").addEventListener("click", () =>
  measure(engine.units, drawUnits, { unit: find("#unit").value.trim() }));
find("#copies").addEventListener("click", () => measure(engine.copies, drawCopies));
// A page without a server has no training text, and does not search for units.
find("#copies").hidden = !engine.copies;
for (const id of ["#units", "#name-unit"]) find(id).hidden = !engine.units;
find("#take").addEventListener("click", () => {
  const { given, steps } = columns[0];
  const text = given.textContent + steps.map((step) => step.character).join("");
  find("#own").value = text.slice(0, data.most.characters);
});
