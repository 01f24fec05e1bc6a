// One model: where it stands on each benchmark, what its last tasks ended with, which files it is.

import { ask, sha256 } from "./answers.js";
import { axisFor, drawAxis, drawRange } from "./axis.js";
import { checkpointLine } from "./checkpoint.js";
import { clean, element, foreign } from "./element.js";
import { bytes, count, FEW_QUESTIONS, measured, plural, questionsAsked, range, score, verdict } from "./words.js";

const EPOCHS = 24;
const RETRY_MS = 4_000;
const page = document.getElementById("model");

function headed(title, ...content) {
  return element("section", {}, element("h2", {}, title), content);
}

/** A table; cells are lists of children, numbers right-aligned where the column says so. */
function table(caption, columns, lines, layout = "plain") {
  const head = columns.map(({ title, kind, unseen }) =>
    element("th", { scope: "col", role: "columnheader", class: kind },
      unseen ? [element("span", { class: "unseen" }, title), unseen] : title));
  const body = lines.map((cells) =>
    element("tr", { role: "row" }, cells.map((cell, index) => {
      const { kind, title } = columns[index];
      return element("td", { role: "cell", class: kind, "data-title": title }, cell);
    })));
  return element("table", { role: "table", class: layout },
    element("caption", { class: "unseen" }, caption),
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, head)),
    element("tbody", { role: "rowgroup" }, body));
}

function stateCell(status) {
  const { glyph, word, tone } = verdict(status);
  return element("span", { "data-tone": tone }, glyph && element("span", { class: "glyph", "aria-hidden": "true" }, `${glyph} `), word);
}

function standing(rows, all) {
  if (rows.length === 0) return headed("Standing", element("p", { class: "empty" }, "No result yet on any benchmark."));
  const axis = axisFor(rows);
  const columns = [
    { title: "Benchmark", kind: "name" },
    { title: "Rank", kind: "number" },
    { title: "Score", kind: "number" },
    { title: "Drawn", kind: "drawn", unseen: axis && drawAxis(axis) },
    { title: "Like these, 95 %", kind: "number" },
    { title: "These questions", kind: "number" },
    { title: "Questions", kind: "number" },
    { title: "Runners", kind: "number" },
    { title: "State", kind: "state" },
  ];
  const lines = rows.map((row) => {
    const rivals = all.filter((other) => other.benchmark === row.benchmark).length;
    const few = row.questions < FEW_QUESTIONS;
    return [
      foreign(row.benchmark),
      element("span", {}, range(row.rank_low, row.rank_high), element("span", { class: "quiet" }, ` of ${count(rivals)}`)),
      element("strong", { class: few ? "quiet" : null }, score(row.score, row.questions)),
      axis && drawRange(axis, row),
      range(row.low, row.high),
      range(row.fp_low, row.fp_high),
      questionsAsked(row.questions, row.of).join(" "),
      count(row.runners),
      stateCell(row.status),
    ];
  });
  return headed("Standing", table("Standing by benchmark", columns, lines, "plain cards"));
}

/** What evaluations cost; a static copy of the board does not tell. */
function energy(found, id) {
  const rows = found?.rows?.filter((row) => row.model_id === id) ?? [];
  if (rows.length === 0) return null;
  const columns = [
    { title: "Benchmark", kind: "name" },
    { title: "J a question", kind: "number" },
    { title: "J a correct answer", kind: "number" },
    { title: "Wh a task", kind: "number" },
    { title: "g CO₂ a task", kind: "number" },
    { title: "Results", kind: "number" },
  ];
  const lines = rows.map((row) => [
    foreign(row.benchmark),
    measured(row.joules_per_question),
    measured(row.joules_per_correct),
    measured(1000 * row.kwh_per_task),
    measured(row.co2_grams_per_task),
    row.estimated > 0 ? `${count(row.results)}, ${count(row.estimated)} estimated` : count(row.results),
  ]);
  return headed("Energy",
    element("p", { class: "quiet" }, `Medians of what runners say, at ${measured(found.co2_grams_per_kwh)} g CO₂ a kWh.`),
    table("Energy by benchmark", columns, lines, "plain cards"));
}

function history(verdicts) {
  const title = `Verdicts of the last ${EPOCHS} epochs`;
  if (verdicts.length === 0) return headed(title, element("p", { class: "empty" }, "None: no task of this model has been closed."));
  const columns = [
    { title: "Epoch", kind: "number" },
    { title: "Benchmark", kind: "name" },
    { title: "Verdict", kind: "state" },
    { title: "Agree", kind: "number" },
    { title: "Score", kind: "number" },
  ];
  const ordered = [...verdicts].sort((a, b) => b.epoch - a.epoch || (a.benchmark < b.benchmark ? -1 : 1));
  const lines = ordered.map((entry) => [
    count(entry.epoch),
    foreign(entry.benchmark),
    [stateCell(entry.verdict), entry.failure && element("span", { class: "below" }, foreign(entry.failure.title))],
    `${count(entry.agreeing?.length)} of ${count(entry.counted)}`,
    // One task alone asks few questions: never more than whole points.
    score(entry.score, 0),
  ]);
  const remark = element("p", { class: "quiet" }, "Each score is that of one task alone.");
  return headed(title, remark, table(title, columns, lines));
}

function files(model) {
  const listed = [["base", model.base, null], ...(model.adapters ?? []).map(({ file, scale }) => ["adapter", file, scale])];
  const items = listed.map(([role, file, scale]) =>
    element("li", {},
      element("p", {}, element("strong", {}, foreign(file?.path)), element("span", { class: "quiet" },
        ` ${role}, ${bytes(file?.size)}`, scale !== null && scale !== 1000 && `, scale ${count(scale)} of 1,000`)),
      element("p", { class: "quiet" }, "in ", foreign(`${file?.repository} at commit ${file?.commit}`)),
      element("p", {}, element("span", { class: "quiet" }, "SHA-256 "), element("code", { class: "digest" }, file?.sha256))));
  return headed("Files", element("ul", { class: "files" }, items));
}

function facts(model) {
  const known = [
    model.architecture,
    Number.isFinite(model.parameters) && `${count(model.parameters)} parameters`,
    model.quantisation,
    model.licence,
  ];
  return element("p", { class: "facts" }, known.filter(Boolean).map((value) => element("span", { class: "fact" }, foreign(value))));
}

async function load(id) {
  const [models, board, results, spent] = await Promise.all([
    ask("/v1/models"),
    ask("/v1/leaderboard"),
    ask(`/v1/results?epochs=${EPOCHS}`),
    ask("/v1/energy").catch(() => null),
  ]);
  const model = models.body.data.models.find((entry) => entry.id === id);
  if (model === undefined) {
    return [element("h1", {}, "This model is not in the log"), element("p", {}, "At ", plural(models.body.data.models.length, "model"), " none has the id ", element("code", { class: "digest" }, id), ". ", element("a", { href: "/" }, "Go to the board"), ".")];
  }
  const rows = board.body.data.rows;
  const own = rows.filter((row) => row.id === id).sort((a, b) => (a.benchmark < b.benchmark ? -1 : 1));
  document.title = `${clean(model.name)} · Peerboard`;
  return [
    element("h1", {}, foreign(model.name)),
    element("p", { class: "reference" }, foreign(model.reference, 1000)),
    facts(model),
    standing(own, rows),
    energy(spent?.body.data, id),
    history(results.body.data.verdicts.filter((entry) => entry.model_id === id)),
    files(model),
    headed("Identity", element("p", {}, "The model is its files: its id is the hash of their hashes. ", element("code", { class: "digest" }, id))),
    element("section", { class: "checkpoint", "aria-label": "Checkpoint" }, checkpointLine(board.body, await sha256(board.bytes))),
  ];
}

async function show() {
  const id = new URLSearchParams(location.search).get("id") ?? "";
  if (!/^[0-9a-f]{64}$/.test(id)) {
    page.replaceChildren(
      element("h1", {}, "No model named"),
      element("p", {}, "The address needs a model's id, 64 hexadecimal digits: ", element("code", {}, "/model/?id=…"), ". ", element("a", { href: "/" }, "Choose one on the board"), "."));
    return;
  }
  try {
    page.replaceChildren(...(await load(id)));
  } catch (error) {
    const reason = error.name === "NoAnswer" ? error.message : "The server's answer has an unknown form";
    page.replaceChildren(element("p", { class: "notice", role: "status" }, `${reason}; trying again.`));
    setTimeout(show, RETRY_MS);
  }
}

show();
