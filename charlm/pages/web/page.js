// What all pages share: their data, and making elements. Data is only ever text.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);

const find = (selector) => document.querySelector(selector);

// make("p", {class: "note"}, "text", other, ...): an element with attributes and children.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// A table; cells are texts or elements. Columns from `left` on are aligned to the right.
function table(header, rows, left = 1) {
  const cell = (name) => (content, column) =>
    make(name, column < left ? {} : { class: "number" }, content);
  const row = (name) => (cells) => make("tr", {}, ...cells.map(cell(name)));
  return make("div", { class: "wide" },
    make("table", {},
      make("thead", {}, row("th")(header)), make("tbody", {}, ...rows.map(row("td")))));
}

// Bars for [character, probability] pairs; "pairs": in two columns, where there is room.
function bars(shares, name = "") {
  const cells = shares.flatMap(([character, share], number) => {
    const bar = make("div", { class: "bar" });
    bar.style.width = `${100 * share}%`;
    const gap = name === "pairs" && number % 2 === 0 ? [make("span", { class: "gap" })] : [];
    return [make("span", { class: "mono" }, named(character)), bar,
            make("span", { class: "number" }, `${(100 * share).toFixed(1)}%`), ...gap];
  });
  return make("div", { class: `bars ${name}` }, ...cells);
}

const thousands = (number) => number.toLocaleString("en-US");

// A text for people: a line end or a space is shown by a sign, and what leaves no ink, or turns the
// direction of a text, by its number. (The two joiners stay: words and emoji need them.)
const numbered = (character) =>
  `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
const NO_INK = /(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const visible = (text) => text.replace(NO_INK, numbered)
  .replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/ /g, "␣");

// One character for people; a mark that would sit on another character has its number, too.
const named = (character) => {
  const shown = visible(character);
  return /^[\p{Z}\p{C}\p{M}]$/u.test(shown) ? numbered(shown) : shown;
};

// A character of a text. One without ink shows its number, and turns no other character around.
const characterSpan = (character, place) => make("span", { "data-place": place,
  ...(character.search(NO_INK) ? {} : { "data-number": numbered(character) }) }, character);

// The class of a character by its bits: the same steps as in the terminal.
const STEPS = [1, 2, 4, 8];
const bitsClass = (bits) => `bits${STEPS.filter((least) => bits >= least).length}`;

const colours = () => getComputedStyle(document.documentElement);
const colour = (name) => colours().getPropertyValue(`--${name}`).trim();

// Calls `draw` again when light turns to dark, and around printing, which is always light.
function onTheme(draw) {
  for (const query of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(query).addEventListener("change", draw);
  }
}
