// Curves by uPlot, in the colours of the page, redrawn when its width or its theme changes.
"use strict";

const DASHES = [[], [8, 4], [2, 3], [8, 3, 2, 3]];

// chart(parent, {title, x, xLabel, yLabel, series: [{label, values, dash, width}], logarithmic})
// `x` and all values are arrays of numbers; null: not measured. A series without data is left out.
function chart(parent, { title, x, xLabel, yLabel, series, logarithmic = false, height = 260 }) {
  const holder = make("div", { class: "chart", role: "img", "aria-label": title });
  parent.append(holder);
  const drawn = series.filter((each) => each.values.some((value) => value !== null));
  let plot = null;
  const draw = () => {
    plot?.destroy();
    const axis = { stroke: colour("faint"), grid: { stroke: colour("rule"), width: 1 },
                   ticks: { stroke: colour("rule"), width: 1 } };
    plot = new uPlot({
      title, height, width: Math.max(280, holder.clientWidth),
      scales: { x: { time: false }, y: { distr: logarithmic ? 3 : 1 } },
      axes: [{ ...axis, label: xLabel }, { ...axis, label: yLabel, size: 64 }],
      series: [{ label: xLabel }, ...drawn.map((each, number) => ({
        label: each.label, width: each.width ?? 2, dash: DASHES[each.dash ?? number % 4],
        class: each.class, stroke: colour(`series${(each.colour ?? number) % 7}`), spanGaps: true,
        points: { show: each.values.filter((value) => value !== null).length < 50 },
      }))],
    }, [x, ...drawn.map((each) => each.values)], holder);
  };
  draw();
  onTheme(draw);
  let width = holder.clientWidth;
  new ResizeObserver(() => {
    if (holder.clientWidth !== width) {
      width = holder.clientWidth;
      plot.setSize({ width: Math.max(280, width), height });
    }
  }).observe(holder);
  return holder;
}
