// The playground: texts of one model, or of two side by side. The script before it is the engine.
"use strict";

const SETTINGS = ["temperature", "top_k", "top_p", "length", "seed"];
const ALL = "all";
const columns = [];

// Calls the last of several functions after some milliseconds, unless a text is written before.
let timer = null;
function later(run, milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(run, milliseconds);
}

function settings() {
  const topK = Number(find("#top_k").value);
  return {
    temperature: Number(find("#temperature").value),
    top_k: topK === Number(find("#top_k").max) ? null : topK,
    top_p: Number(find("#top_p").value),
    seed: Number(find("#seed").value),
  };
}

const newSeed = () => { find("#seed").value = crypto.getRandomValues(new Uint32Array(1))[0]; };
const wantedLength = () => {
  const field = find("#length");
  field.value = Math.min(Math.max(1, Math.round(Number(field.value)) || 1), data.most.length);
  return Number(field.value);
};

function showSettings() {
  const { temperature, top_k, top_p } = settings();
  find("#temperature-value").textContent = temperature === 0 ? "0: the most probable" : temperature;
  find("#top_k-value").textContent = top_k ?? ALL;
  find("#top_p-value").textContent = top_p === 1 ? ALL : top_p;
}

// A model, its text, and the alternatives of one character of it.
class Column {
  constructor(number) {
    this.number = number;
    this.steps = [];  // what is written: {character, likely, drawn, own, picked}
    this.next = null;  // the distribution after the text
    this.place = null;  // of the step that is shown; null: the last one
    this.running = null;  // stops the text that is being written
    this.length = 0;  // that was wanted
    this.title = make("h2");
    this.facts = make("p", { class: "note" });
    this.message = make("p", { role: "alert" });
    this.given = make("span", { class: "given" });
    this.text = make("div", { class: "text written", tabindex: "0", role: "group" }, this.given);
    this.status = make("p", { class: "note status", role: "status" });
    this.bars = make("div", { class: "next" });
    this.element = make("section", {}, this.title, this.facts, this.message, this.text, this.status,
                        this.bars);
    this.text.addEventListener("click", ({ target }) => {
      if (target.dataset.place) this.show(Number(target.dataset.place));
    });
    this.text.addEventListener("keydown", (event) => this.move(event));
  }

  get run() { return data.runs[Number(find(`#model${this.number}`).value)]; }

  describe() {
    const { name, cell, parameters, corpus, characters, mixture } = this.run;
    this.title.textContent = name;
    this.text.setAttribute("aria-label", `Text of ${name}; arrow keys move in it`);
    const sizes = parameters === null ? [] : [`${thousands(parameters)} parameters`];
    this.facts.textContent = [cell, ...sizes, corpus, `${thousands(characters)} different characters`,
                              ...(mixture ? [mixture] : [])].join(", ");
  }

  tell(message, kind = "notice") {
    this.message.textContent = message;
    this.message.className = kind;
  }

  stop() { this.running?.abort(); }

  // Go on after the first `kept` steps with `length` characters; 0: only the next distribution.
  async write(kept, length) {
    this.stop();
    clearTimeout(timer);
    const running = this.running = new AbortController();
    this.length = length;
    this.tell("");
    this.cut(kept);
    this.status.textContent = length ? "writing" : "";
    this.text.setAttribute("aria-busy", "true");
    buttons();
    const content = {
      ...settings(), run: data.runs.indexOf(this.run), length, prefix: find("#prefix").value,
      written: this.steps.map((step) => step.character).join(""),
    };
    try {
      let ended = false;
      for await (const part of engine.write(content, running.signal)) {
        if (running.signal.aborted) break;
        this.take(part);
        ended ||= Boolean(part.end);
      }
      if (!ended && this.running === running) this.status.textContent = "stopped";
    } catch (error) {
      if (!running.signal.aborted) this.tell(error.message, "error");
      if (this.running === running) this.status.textContent = "stopped";
    }
    if (this.running === running) {
      this.running = null;
      this.text.setAttribute("aria-busy", "false");
      buttons();
    }
  }

  take(part) {
    if (part.text !== undefined) {
      const written = this.steps.map((step) => step.character).join("");
      this.given.textContent = part.text.slice(0, part.text.length - written.length);
      this.tell(part.notices.join("; "));
    }
    for (const step of part.steps ?? []) this.add(step);
    if (part.next) this.next = part.next;
    if (part.end) {
      const ends = { length: "", line: ", the line has ended", time: ", the time is over" };
      const count = this.steps.length;
      this.status.textContent = count ? `${thousands(count)} characters${ends[part.end]}` : "";
    }
    if (this.place === null) this.draw();
  }

  add(step) {
    this.steps.push(step);
    const span = characterSpan(step.character, this.steps.length - 1);
    this.paint(span, step);
    this.text.append(span);
    this.text.scrollTop = this.text.scrollHeight;
  }

  paint(span, step) {
    const share = step.own[step.likely.indexOf(step.character)];
    span.className = find("#colours").checked ? bitsClass(-Math.log2(share)) : "";
    if (step.picked) span.classList.add("picked");
  }

  repaint() {
    this.steps.forEach((step, place) => this.paint(this.text.children[place + 1], step));
    this.draw();
  }

  cut(kept) {
    this.steps.length = kept;
    while (this.text.children.length > kept + 1) this.text.lastChild.remove();
    [this.next, this.place] = [null, null];
    this.draw();
  }

  // The steps that are kept when the text is written anew: up to the last choice of the user.
  kept() { return this.steps.findLastIndex((step) => step.picked) + 1; }

  // Show the alternatives of a character; null: of the next one.
  show(place) {
    this.place = place;
    this.draw();
  }

  move(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const last = this.steps.length;
    if (!by || !last) return;
    event.preventDefault();
    const place = Math.min(Math.max(0, (this.place ?? last) + by), last);
    this.show(place === last ? null : place);
    this.text.children[place + 1]?.scrollIntoView({ block: "nearest" });
  }

  draw() {
    for (const span of this.text.querySelectorAll(".chosen")) span.classList.remove("chosen");
    const end = this.steps.length;
    const place = this.place ?? (this.next ? end : end - 1);
    const step = place < end ? this.steps[place] : this.next;
    if (!step) return this.bars.replaceChildren();
    if (place < end) this.text.children[place + 1].classList.add("chosen");
    const texts = [this.given.textContent, ...this.steps.slice(Math.max(0, place - 24), place)
      .map((each) => each.character)].join("");
    const before = make("span", { class: "mono" }, visible(Array.from(texts).slice(-24).join("")));
    this.bars.replaceChildren(make("p", {}, place < end ? "" : "next, ", "after ", before),
                              this.alternatives(step, place));
  }

  // The bars: what the character is drawn from, and a line where the model itself has it.
  alternatives(step, place) {
    const rest = (shares) => Math.max(0, 1 - shares.reduce((sum, share) => sum + share, 0));
    const percent = (share) => make("span", { class: "number" }, `${(100 * share).toFixed(1)}%`);
    const row = (name, drawn, own) => {
      const bar = make("div", { class: "bar" });
      const line = make("div", { class: "own" });
      [bar.style.width, line.style.width] = [`${100 * drawn}%`, `${100 * own}%`];
      line.hidden = own < 0.0005;
      return [name, make("div", { class: "track", "data-share": drawn }, bar, line),
              percent(drawn), percent(own)];
    };
    const head = ["", "", "▬ drawn", "| model"].map((name, column) =>
      make("span", { class: column > 1 ? "head number" : "head" }, name));
    const rows = step.likely.map((character, number) => {
      const button = make("button", { type: "button" }, named(character));
      button.setAttribute("aria-label", `go on with ${named(character)}`);
      button.setAttribute("aria-pressed", String(character === step.character));
      button.addEventListener("click", () => this.pick(place, step, character));
      return row(button, step.drawn[number], step.own[number]);
    });
    const others = row(make("span", { class: "note" }, "others"), rest(step.drawn), rest(step.own));
    return make("div", { class: "alternatives" }, ...[head, ...rows, others].flat());
  }

  // Put another character at a place, and go on from there.
  pick(place, step, character) {
    this.cut(place);
    const { likely, drawn, own } = step;
    this.add({ character, likely, drawn, own, picked: true });
    this.write(place + 1, wantedLength());
  }
}

const writeAll = () => columns.forEach((column) => column.write(0, wantedLength()));

function buttons() {
  find("#stop").disabled = !columns.some((column) => column.running);
}

// Write the texts that are there again, with other settings; without one, show what comes next.
const rewrite = () => later(() => columns.forEach((column) =>
  column.write(column.kept(), column.length ? wantedLength() : 0)), 150);
const look = () => later(() => columns.forEach((column) => column.write(0, 0)), 250);

function layout() {
  const two = find("#model1").value !== "";
  columns.forEach((column) => column.stop());
  columns.length = 0;
  columns.push(...[0, ...(two ? [1] : [])].map((number) => new Column(number)));
  find("#columns").replaceChildren(...columns.map((column) => column.element));
  find("#columns").className = two ? "columns two" : "columns";
  const most = Math.max(...columns.map((column) => column.run.characters), 2);
  const slider = find("#top_k");
  // The last value stands for all: as many as are worth a slider.
  slider.max = Math.min(most, 100);
  slider.value = slider.max;
  columns.forEach((column) => column.describe());
  showSettings();
  look();
}

function start() {
  const several = data.runs.length > 1;
  data.runs.forEach(({ name }, number) => {
    for (const select of ["#model0", "#model1"]) {
      find(select).append(make("option", { value: number }, name));
    }
  });
  find("#model1").prepend(make("option", { value: "" }, "none"));
  find("#model1").value = several ? "1" : "";
  find("#models").hidden = !several;
  find("#prefix").value = data.runs[0].prefix;
  find("#temperature").value = data.settings.temperature;
  find("#top_p").value = data.settings.top_p;
  find("#length").value = data.settings.length;
  find("#length").max = data.most.length;
  for (const field of ["#prefix", "#own"]) find(field).maxLength = data.most.characters;
  newSeed();
  layout();
  find("#about").textContent = "Type the start of a text and let a model go on. Select a character " +
    "to see what else could have come, and click one of these to go on with it. A bar is the " +
    "probability that a character is drawn with; the line in it is the model's own, without " +
    "temperature, top-k and top-p.";

  find("#controls").addEventListener("submit", (event) => { event.preventDefault(); writeAll(); });
  find("#another").addEventListener("click", () => { newSeed(); writeAll(); });
  find("#stop").addEventListener("click", () => columns.forEach((column) => column.stop()));
  find("#prefix").addEventListener("input", look);
  find("#prefix").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    writeAll();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") columns.forEach((column) => column.stop());
  });
  for (const name of SETTINGS) {
    find(`#${name}`).addEventListener("input", () => { showSettings(); rewrite(); });
  }
  for (const select of ["#model0", "#model1"]) find(select).addEventListener("change", layout);
  find("#colours").addEventListener("change", () => columns.forEach((column) => column.repaint()));
}

start();
