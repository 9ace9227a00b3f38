// The page of `charlm runs compare --html`.
"use strict";

const put = (id, name, { header, rows, left }) => {
  if (rows.length) find(id).append(...(name ? [make("h2", {}, name)] : []), table(header, rows, left));
};

// Curves over the same x: their values at each x of any of them, null where one has no point.
function together(curves) {
  const x = [...new Set(curves.flat().map(([place]) => place))].sort((a, b) => a - b);
  return [x, curves.map((curve) => {
    const values = new Map(curve);
    return x.map((place) => values.get(place) ?? null);
  })];
}

// A chart of a metric over what was seen (0) or over the time (1).
function curves(groups, over) {
  const named = groups.map((group, colour) => ({ ...group, colour, dash: colour % 4 }));
  // Only the last curve of a group, which is its mean, has an entry in the legend.
  const series = named.flatMap(({ lines, means, group, colour, dash }) => {
    const curves = [...lines[over], ...(means[over].length ? [means[over]] : [])];
    return curves.map((curve, number) => ({
      curve, label: group, colour, dash, width: number < lines[over].length ? 1 : 3,
      ...(number < curves.length - 1 ? { class: "seed", points: false } : {}),
    }));
  });
  const [x, values] = together(series.map((each) => each.curve));
  const { metric, items, logarithmic } = groups[0];
  chart(find("#curves"), {
    title: metric, x, xLabel: over ? "time" : `${items} seen`, yLabel: "", time: over === 1,
    logarithmic, height: 320,
    series: series.map((each, number) => ({ ...each, values: values[number] })),
  });
}

const titles = Object.fromEntries(data.groups.rows.map(([name, label]) =>
  [name, label ? `${name}: ${label}` : name]));

// The last samples of all runs after a prefix: a column for each group.
function samples({ prefix, samples: written }) {
  const groups = [...new Set(written.map((sample) => sample.group))];
  const columns = groups.map((group) => make("div", {}, make("h3", {}, titles[group]),
    ...written.filter((sample) => sample.group === group).flatMap((sample) => [
      make("p", { class: "note" }, sample.run),
      make("div", { class: "text" }, sample.text)])));
  find("#samples").append(make("h3", {}, "after ", make("span", { class: "mono" }, visible(prefix))),
    make("div", { class: "side" }, ...columns));
}

find("#title").textContent = data.title;
put("#groups", "", data.groups);
find("#words").append(...data.words.map((words) => make("p", {}, words)));
const shown = data.curves.filter(({ lines }) => lines[0].length);
if (shown.length) {
  find("#curves").append(make("h2", {}, "Curves"),
    make("p", { class: "note" }, "Thin: each seed. Thick: the mean of a group, where all its seeds have values."));
}
for (const metric of new Set(shown.map((each) => each.metric))) {
  const groups = shown.filter((each) => each.metric === metric);
  for (const over of [0, 1]) curves(groups, over);
}
if (data.samples.length) {
  find("#samples").append(make("h2", {}, "The last samples, side by side"));
  data.samples.forEach(samples);
}
put("#settings", "Settings that differ", data.settings);
put("#runs", "Runs", data.runs);
