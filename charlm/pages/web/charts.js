// Curves by uPlot, in the colours of the page, redrawn when its width or its theme changes.
"use strict";

const DASHES = [[], [8, 4], [2, 3], [8, 3, 2, 3]];
const STEPS_OF_TIME = [1, 2, 5, 10, 15, 30].flatMap((step) => [step, 60 * step, 3600 * step])
  .concat([0.1, 0.2, 0.5], [6, 12, 24, 48, 120, 240].map((hours) => 3600 * hours))
  .sort((a, b) => a - b);

// chart(parent, {title, x, xLabel, yLabel, series: [{label, values, dash, width, colour, class,
//                points}], lines, logarithmic, time, height, sync})
// `x` and all values are arrays of numbers; null: not measured. A series without data is left out.
// lines: horizontal ones, [{label, value}]. time: x is in seconds. sync: charts with the same word
// show the same place. Returns a function that draws the chart again with some of these changed.
function chart(parent, about) {
  const holder = make("div", { class: "chart", role: "img" });
  parent.append(holder);
  let options = { height: 260, logarithmic: false, lines: [], time: false, ...about };
  let plot = null;
  const draw = () => {
    plot?.destroy();
    holder.setAttribute("aria-label", options.title);
    plot = new uPlot(plotOptions(options, holder.clientWidth), plotData(options), holder);
  };
  draw();
  onTheme(draw);
  let width = holder.clientWidth;
  new ResizeObserver(() => {
    if (holder.clientWidth !== width) {
      width = holder.clientWidth;
      plot.setSize({ width: plotWidth(width), height: options.height });
    }
  }).observe(holder);
  return (changes) => {
    options = { ...options, ...changes };
    draw();
  };
}

const plotWidth = (width) => Math.max(260, width);
const measured = (values) => values.filter((value) => value !== null);
const drawnSeries = ({ series }) => series.filter((each) => measured(each.values).length);
// A logarithmic scale has no place for 0.
const plotData = (options) => [options.x, ...drawnSeries(options).map(({ values }) =>
  options.logarithmic ? values.map((value) => (value > 0 ? value : null)) : values)];

function plotOptions(options, width) {
  const { title, xLabel, yLabel, logarithmic, time, lines, height, sync } = options;
  const axis = { stroke: colour("faint"), grid: { stroke: colour("rule"), width: 1 },
                 ticks: { stroke: colour("rule"), width: 1 }, labelSize: 20, labelGap: 2 };
  const xText = time ? clock : compact;
  return {
    title, height, width: plotWidth(width),
    scales: {
      x: { time: false },
      y: { distr: logarithmic ? 3 : 1, range: () => yRange(options) },
    },
    axes: [
      { ...axis, label: xLabel, space: 60, ...(time ? { incrs: STEPS_OF_TIME } : {}),
        values: (_, splits) => splits.map(xText) },
      { ...axis, label: yLabel, size: 56, filter: (_, splits) => splits,
        ...(logarithmic ? { splits: (_, __, low, high) => logTicks(low, high) } : {}),
        values: (_, splits) => splits.map(compact) },
    ],
    series: [
      { label: xLabel, value: (_, value) => (value === null ? "–" : (time ? clock : thousands)(value)) },
      ...drawnSeries(options).map((each, number) => ({
        label: each.label, width: each.width ?? 2, dash: DASHES[each.dash ?? number % 4],
        class: each.class, stroke: colour(`series${(each.colour ?? number) % 7}`), spanGaps: true,
        value: (_, value) => (value === null ? "–" : digits(value)),
        points: { show: each.points ?? measured(each.values).length < 50 },
      }))],
    cursor: sync ? { sync: { key: sync } } : {},
    hooks: { draw: [(plot) => drawLines(plot, lines)], setCursor: [showLast], ready: [showLast] },
  };
}

// The legend has the last values while no place is pointed at.
function showLast(plot) {
  if (plot.cursor.idx == null) plot.setLegend({ idx: plot.data[0].length - 1 }, false);
}

// The lowest and the highest place of the y axis: all curves and lines fit, with a little room.
function yRange(options) {
  const values = [...plotData(options).slice(1).flatMap(measured),
                  ...options.lines.map((line) => line.value)];
  if (!values.length) return [options.logarithmic ? 1 : 0, 2];
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  if (options.logarithmic) {
    const room = Math.max((high / low) ** 0.08, 1.02);
    return [low / room, high * room];
  }
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

// Round numbers on a logarithmic axis, fewer the more it spans.
function logTicks(low, high) {
  const ratio = high / low;
  if (ratio < 2.5) return linearTicks(low, high);
  const steps = ratio > 1000 ? [1] : ratio > 30 ? [1, 3] : ratio > 8 ? [1, 2, 5] : [1, 2, 3, 4, 6, 8];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    ticks.push(...steps.map((step) => Number((step * 10 ** power).toPrecision(3))));
  }
  return ticks.filter((tick) => tick >= low && tick <= high);
}

function linearTicks(low, high) {
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) {
    ticks.push(Number(tick.toPrecision(6)));
  }
  return ticks;
}

// Horizontal lines. Each name is where it covers the least of curves and of other names.
function drawLines(plot, lines) {
  const { ctx, bbox } = plot, scale = devicePixelRatio || 1, height = 14 * scale;
  const taken = curvePixels(plot, 8 * scale);
  ctx.save();
  ctx.fillStyle = ctx.strokeStyle = colour("faint");
  ctx.lineWidth = scale;
  ctx.setLineDash([2 * scale, 3 * scale]);
  ctx.font = `${12 * scale}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "bottom";
  for (const { value, label } of lines) {
    const y = plot.valToPos(value, "y", true);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    const width = ctx.measureText(label).width, gap = 4 * scale;
    const covers = ([x, base]) => taken.filter(([left, top]) => left > x - gap &&
      left < x + width + gap && top > base - height - gap && top < base + gap).length;
    const bases = [y - scale, y + height].filter((base) => base < bbox.top + bbox.height + gap);
    const places = bases.flatMap((base) => [0.995, 0.005, 0.5].map((part) =>
      [bbox.left + part * (bbox.width - width), base]));
    const best = places.reduce((a, b) => (covers(b) < covers(a) ? b : a));
    ctx.save();  // an edge around the letters, because a curve can be under them
    ctx.setLineDash([]);
    ctx.lineJoin = "round";
    ctx.lineWidth = 4 * scale;
    ctx.strokeStyle = colour("page");
    ctx.strokeText(label, ...best);
    ctx.restore();
    ctx.fillText(label, ...best);
    for (let x = best[0]; x < best[0] + width; x += gap) taken.push([x, best[1] - height / 2]);
  }
  ctx.restore();
}

// Places on the canvas where curves are, one for each curve and step.
function curvePixels(plot, step) {
  const { left, width } = plot.bbox, found = [], [xs, ...curves] = plot.data;
  for (let x = left; x <= left + width; x += step) {
    const at = plot.posToVal(x, "x", true);
    const after = Math.max(1, xs.findIndex((each) => each >= at));
    for (const values of curves) {
      const [a, b] = [values[after - 1], values[after] ?? values[after - 1]];
      if (a === null || a === undefined || b === null) continue;
      const share = (at - xs[after - 1]) / ((xs[after] - xs[after - 1]) || 1);
      const [first, last] = [a, b].map((value) => plot.valToPos(value, "y", true));
      found.push([x, first + share * (last - first)]);
    }
  }
  return found;
}

const tiny = (value) => value !== 0 && Math.abs(value) < 1e-5;
const digits = (value) => (tiny(value) ? value.toExponential(2) :
  value.toLocaleString("en-US", { maximumSignificantDigits: 4 }));
const compact = (value) => (value === null || value === undefined ? "" :
  tiny(value) ? value.toExponential(0) :
    value.toLocaleString("en-US", { notation: "compact", maximumSignificantDigits: 3 }));

// Seconds as 0:07, 12:34 or 1:02:03.
function clock(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds > 0 && seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds), two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
