// The page of `charlm report`, and report.html of a run folder.
"use strict";

const GIVE_UP = 86400; // seconds after which a page stops looking for a newer one

// What a reader has chosen outlives a reload; a browser may refuse to keep it.
const memory = {
  get(key) { try { return sessionStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { sessionStorage.setItem(key, value); } catch { /* not kept */ } },
};

function heading(title, ...content) {
  return content.length ? [make("h2", {}, title), ...content] : [];
}

const blocks = (parts) => parts.map((part) => (typeof part === "string" ?
  make("p", {}, part) : table(part.header, part.rows, part.left)));

function headline(run) {
  return make("div", { class: "figures" }, ...run.headline.map(([name, value, remark]) =>
    make("div", {}, make("div", { class: "note" }, name),
      make("div", { class: "figure" }, value), make("div", { class: "note" }, remark))));
}

// Buttons of which one is pressed; `choose` is called with its name, at once for the first time.
function choice(label, names, key, choose) {
  const buttons = names.map((name) => make("button", { type: "button" }, name));
  const press = (name) => {
    buttons.forEach((each) => each.setAttribute("aria-pressed", String(each.textContent === name)));
    memory.set(key, name);
    choose(name);
  };
  buttons.forEach((each) => each.addEventListener("click", () => press(each.textContent)));
  const kept = memory.get(key);
  press(names.includes(kept) ? kept : names[0]);
  return make("div", { class: "buttons", role: "group", "aria-label": label }, `${label}:`, ...buttons);
}

function curves(run, section) {
  if (!run.over.epochs.length) {
    section.append(make("p", { class: "note" }, "The training has not reported anything yet."));
    return;
  }
  const controls = make("div", { class: "screen controls" });
  const [scores, others] = [make("div", { class: "charts" }), make("div", { class: "charts" })];
  section.append(controls, scores, others);
  const bits = run.charts.map((each) => each.bits).find(Boolean);
  const chosen = { over: Object.keys(run.over)[0], inBits: false };
  let drawn = null;
  const shown = (each) => {
    const log = chosen.inBits && each.bits;
    const value = (number) => (number === null || number <= 0 ? null : Math.log2(number));
    return {
      title: log ? each.bits : each.title,
      x: run.over[chosen.over], xLabel: chosen.over, yLabel: "", time: chosen.over === "time",
      logarithmic: each.logarithmic && !log,
      series: each.series.map((one) => ({ ...one, values: log ? one.values.map(value) : one.values })),
      lines: each.lines.map(([label, number]) => ({ label, value: log ? value(number) : number })),
    };
  };
  const redraw = () => {
    if (drawn) drawn.forEach((draw, number) => draw(shown(run.charts[number])));
  };
  const choose = (change) => { Object.assign(chosen, change); redraw(); };
  controls.append(choice("over", Object.keys(run.over), "over", (over) => choose({ over })));
  if (bits) {
    const names = [run.charts.find((each) => each.bits).title, bits];
    controls.append(choice("as", names, "as", (name) => choose({ inBits: name === bits })));
  }
  drawn = run.charts.map((each) => chart(each.score ? scores : others,
    { ...shown(each), height: each.score ? 320 : 220, sync: run.name }));
}

// The samples of one time, chosen with a slider. At the last set it stays with the newest one.
function samples(run) {
  const { sets, shown } = run.samples;
  if (!sets.length) return [];
  const key = `samples of ${run.name}`, last = sets.length - 1;
  const when = make("output", { class: "note" });
  const texts = make("div", { "aria-live": "polite" });
  const slider = make("input", {
    type: "range", min: 0, max: last, step: 1, "aria-label": "when the samples were written",
  });
  const show = () => {
    const set = sets[Number(slider.value)];
    when.textContent = set.when;
    slider.setAttribute("aria-valuetext", set.when);
    texts.replaceChildren(...set.texts.map(([prefix, text]) =>
      make("div", { class: "text" }, make("strong", {}, prefix), text)));
    memory.set(key, slider.value === String(last) ? "last" : slider.value);
  };
  slider.addEventListener("input", show);
  const kept = Number(memory.get(key) ?? "last");
  slider.value = String(Number.isInteger(kept) ? Math.min(kept, last) : last);
  show();
  const control = last ? [make("div", { class: "screen slider" }, slider)] : [];
  return [...control, when, texts, ...(shown ? [make("p", { class: "note" }, shown)] : [])];
}

function facts(run) {
  return run.facts.flatMap(([title, rows]) => heading(title,
    make("div", { class: "facts" }, table(["", ""], rows, 2))));
}

// First the settings that a user gave or that were chosen for the data, then those left as they are.
function settings(run) {
  const rows = run.settings.flatMap(([section, each]) =>
    each.map(([key, ...rest]) => [`${section}.${key}`, ...rest]));
  const [given, left] = [true, false].map((isGiven) =>
    rows.filter(([, , origin]) => (origin !== "default") === isGiven));
  const shown = (some) => make("div", { class: "settings" },
    table(["setting", "value", "from", "meaning"], some, 4));
  const others = make("details", {},
    make("summary", {}, `${left.length} settings with their defaults`), shown(left));
  addEventListener("beforeprint", () => { others.open = true; });
  return [...(given.length ? [shown(given)] : []), others];
}

function report(run, number) {
  const section = make("section", { id: `run${number}` });
  find("#runs").append(section);
  const time = new Date(1000 * run.drawn).toLocaleString("en-GB");
  section.append(
    make("h1", {}, run.name), make("p", { class: "note" }, `${run.about} Drawn ${time}.`),
    ...run.notices.map((notice) => make("p", { class: "notice" }, notice)),
    headline(run), make("p", { class: "note" },
      `${run.meaning} Valid: on data that the model was not trained on.`),
    make("ul", {}, ...run.words.map((word) => make("li", {}, word))));
  curves(run, section);
  section.append(
    ...heading("Samples", ...samples(run)),
    ...heading("Copies in the last samples", ...blocks(run.copies)),
    ...facts(run), ...blocks(run.data), ...heading("Settings", ...settings(run)));
}

// A page of a running training is loaded again, less often the older it is: a killed training
// leaves it as it was.
function lookForNews(training) {
  const age = () => Date.now() / 1000 - Math.max(...training.map((run) => run.drawn));
  const wait = Math.max(5, age() / 10);
  if (age() > GIVE_UP) return;
  setTimeout(function reload() {
    if (document.querySelector(":active")) setTimeout(reload, 1000); // a reader drags the slider
    else location.reload();
  }, 1000 * wait);
}

if (data.runs.length > 1) {
  find("#runs").append(make("nav", { class: "screen buttons" }, ...data.runs.map((run, number) =>
    make("a", { href: `#run${number}` }, run.name))));
}
data.runs.forEach(report);
const training = data.runs.filter((run) => run.state === "training");
if (training.length) lookForNews(training);
