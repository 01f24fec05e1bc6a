// One axis per table, zoomed to the data, and the mark of one row on it. Lengths are percentages of the column's
// width, so the drawing needs no script when the window changes.

import { svg } from "./element.js";

const STEPS = [1, 2, 5, 10, 20, 25];
const FEWEST = 10;
const MOST_STEPS = 5;

/** `{from, to, ticks}` in percent, or null where no row has a score. */
export function axisFor(rows) {
  const values = rows
    .flatMap((row) => [row.low, row.high, row.fp_low, row.fp_high, row.score])
    .filter((value) => Number.isFinite(value));
  if (values.length === 0) return null;
  const [least, most] = [Math.max(0, Math.min(...values)), Math.min(100, Math.max(...values))];
  const width = Math.max(FEWEST, most - least);
  const low = Math.min(100 - width, Math.max(0, (least + most - width) / 2));
  const high = low + width;
  const step = STEPS.find((size) => (high - low) / size <= MOST_STEPS) ?? STEPS.at(-1);
  const from = Math.max(0, Math.floor(low / step) * step);
  const to = Math.min(100, Math.ceil(high / step) * step);
  const ticks = [];
  for (let tick = from; tick <= to; tick += step) ticks.push(tick);
  return { from, to, ticks };
}

function place(axis, value) {
  const share = (value - axis.from) / (axis.to - axis.from);
  return `${(100 * Math.min(1, Math.max(0, share))).toFixed(2)}%`;
}

function grid(axis) {
  return axis.ticks.map((tick) => {
    const x = place(axis, tick);
    return svg("line", { class: "grid", x1: x, x2: x, y1: "0", y2: "100%" });
  });
}

/** The labels, for a table's head. */
export function drawAxis(axis) {
  const labels = axis.ticks.map((tick, index) => {
    const last = index === axis.ticks.length - 1;
    const text = last ? `${tick} %` : `${tick}`;
    return svg("text", { x: place(axis, tick), y: "75%", "text-anchor": "middle" }, text);
  });
  return svg("svg", { class: "axis", "aria-hidden": "true" }, labels);
}

/** Thin line: questions like these. Thick bar: these questions. Dot: the estimate, hollow where it is disputed. */
export function drawRange(axis, row) {
  const picture = svg("svg", { class: "range", "aria-hidden": "true" }, grid(axis));
  const middle = { y1: "50%", y2: "50%" };
  const has = (...values) => values.every((value) => Number.isFinite(value));
  if (has(row.low, row.high)) {
    picture.append(svg("line", { class: "thin", x1: place(axis, row.low), x2: place(axis, row.high), ...middle }));
  }
  if (has(row.fp_low, row.fp_high)) {
    picture.append(
      svg("line", { class: "thick", x1: place(axis, row.fp_low), x2: place(axis, row.fp_high), ...middle }),
    );
  }
  if (has(row.score)) {
    const tone = row.status === "DONE" ? "dot" : "dot hollow";
    picture.append(svg("circle", { class: tone, cx: place(axis, row.score), cy: "50%", r: "4" }));
  }
  return picture;
}
