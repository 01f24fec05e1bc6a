// A benchmark's table. Roles are spelled out because the narrow layout turns table elements into blocks, and
// browsers then forget that they were a table.

import { axisFor, drawAxis, drawRange } from "./axis.js";
import { element, foreign, modelLink } from "./element.js";
import { direction, inseparable } from "./rows.js";
import { count, FEW_QUESTIONS, plural, questionsAsked, range, score, verdict } from "./words.js";

const PAGE = 50;
const KEPT_END = 16;

const COLUMNS = [
  { key: "rank", title: "Rank", cell: rankCell },
  { key: "model", title: "Model", cell: modelCell },
  { key: "score", title: "Score", cell: scoreCell },
  { key: "range", title: "95 % range", cell: rangeCell, unsorted: true },
  { key: "questions", title: "Questions", cell: questionsCell },
  { key: "runners", title: "Runners", cell: runnersCell },
  { key: "state", title: "State", cell: stateCell, unsorted: true },
];

/**
 * A table of `shown` rows on an axis of `all` rows of the benchmark, 50 at a time. `onSort(key)` is called when a
 * reader wants another order.
 */
export function boardTable({ benchmark, all, shown, sort, onSort }) {
  const axis = axisFor(all);
  const body = element("tbody", { role: "rowgroup" });
  const table = element(
    "table",
    { role: "table", class: "board" },
    element("caption", {}, element("h2", {}, foreign(benchmark)), element("span", { class: "quiet" }, leaders(all))),
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, COLUMNS.map((column) => head(column, axis, sort, onSort)))),
    body,
  );
  const section = element("section", { class: "group" }, table);
  const more = element("button", { type: "button", class: "more" });
  const grow = () => {
    const done = body.childElementCount;
    body.append(...shown.slice(done, done + PAGE).map((row) => bodyRow(row, axis)));
    const left = shown.length - body.childElementCount;
    more.textContent = `Show ${count(Math.min(PAGE, left))} more of ${count(left)}`;
    if (left === 0) more.remove();
    else section.append(more);
  };
  more.addEventListener("click", () => {
    const next = body.childElementCount;
    grow();
    body.children[next]?.querySelector("a")?.focus();
  });
  grow();
  bracketTies(body, shown);
  return section;
}

/** "2 of 5 models could be first." */
function leaders(rows) {
  const first = rows.filter((row) => row.rank_low === 1).length;
  const could = first === 1 ? "one leads" : `${count(first)} could be first`;
  return `${plural(rows.length, "model")}, ${could}`;
}

function head({ key, title, unsorted }, axis, sort, onSort) {
  const cell = element("th", { role: "columnheader", scope: "col", class: `c-${key}` });
  if (key === "range") {
    cell.append(element("span", { class: "unseen" }, title), axis === null ? "" : drawAxis(axis));
  } else if (unsorted) {
    cell.append(title);
  } else {
    const way = direction(sort, key);
    if (way !== null) cell.setAttribute("aria-sort", way);
    const arrow = element("span", { class: "arrow", "aria-hidden": "true" }, { ascending: "↑", descending: "↓" }[way] ?? "");
    const button = element("button", { type: "button", "data-sort": key }, title, arrow);
    button.addEventListener("click", () => onSort(key));
    cell.append(button);
  }
  return cell;
}

function bodyRow(row, axis) {
  const few = row.questions < FEW_QUESTIONS;
  const cells = COLUMNS.map(({ key, cell }) => element("td", { role: "cell", class: `c-${key}` }, cell(row, axis)));
  return element("tr", { role: "row", class: few ? "few" : null, "data-tone": verdict(row.status).tone }, cells);
}

function rankCell(row) {
  return range(row.rank_low, row.rank_high);
}

function modelCell(row) {
  // Where the column is too narrow the start gives way: the file's name is at the end.
  const characters = Array.from(String(row.model ?? ""));
  const parts = [characters.slice(0, -KEPT_END), characters.slice(-KEPT_END)].map((part) => foreign(part.join("")));
  return [modelLink(row.id, row.name), element("span", { class: "reference" }, parts)];
}

function scoreCell(row) {
  return [
    element("span", { class: "score" }, score(row.score, row.questions)),
    element("span", { class: "below" }, element("span", { class: "unseen" }, "95 % range "), range(row.low, row.high)),
  ];
}

function rangeCell(row, axis) {
  const inner = `on these questions ${range(row.fp_low, row.fp_high)}`;
  return [axis === null ? null : drawRange(axis, row), element("span", { class: "unseen" }, inner)];
}

function questionsCell(row) {
  const [asked, of] = questionsAsked(row.questions, row.of);
  return [asked, element("span", { class: "below" }, ` ${of}`), element("span", { class: "narrow" }, " questions")];
}

function runnersCell(row) {
  return [count(row.runners), element("span", { class: "narrow" }, row.runners === 1 ? " runner" : " runners")];
}

function stateCell(row) {
  const { glyph, word } = verdict(row.status);
  return [glyph && element("span", { class: "glyph", "aria-hidden": "true" }, `${glyph} `), word];
}

// Beside the row that has the focus or the pointer: which others cannot be told apart from it. The rank ranges say the same.
function bracketTies(body, rows) {
  const mark = (target) => {
    const index = Array.prototype.indexOf.call(body.children, target?.closest?.("tbody > tr"));
    Array.from(body.children).forEach((line, place) => {
      line.classList.toggle("tied", index >= 0 && inseparable(rows[place], rows[index]));
    });
  };
  body.addEventListener("focusin", (event) => mark(event.target));
  body.addEventListener("focusout", () => mark(null));
  body.addEventListener("pointerover", (event) => mark(event.target));
  body.addEventListener("pointerleave", () => mark(document.activeElement));
}
