// Tasks of the open epoch: who evaluates what, how far, how many agree. Each task keeps its place and its element,
// so that one a reader has opened stays open.

import { element, foreign, modelLink, svg } from "./element.js";
import { count, plural, short, taskState } from "./words.js";

const SHOWN = 24;
const WORDS = ["RUNNING", "QUEUED", "DONE", "DISPUTED", "FAILED", "EXPIRED", "WAITING"];

export class TaskList {
  #list;
  #counts;
  #known = new Map();

  constructor(list, counts) {
    this.#list = list;
    this.#counts = counts;
  }

  take({ epoch, tasks }) {
    this.#counts.textContent = summary(epoch, tasks);
    const ordered = [...tasks].sort((a, b) => compare(a, b)).slice(0, SHOWN);
    const kept = new Map();
    for (const task of ordered) {
      const entry = this.#known.get(task.id) ?? { node: element("li", { "data-task": task.id }), drawn: "" };
      const wanted = JSON.stringify(task);
      if (entry.drawn !== wanted) draw(entry.node, task);
      entry.drawn = wanted;
      kept.set(task.id, entry);
    }
    this.#known = kept;
    const nodes = [...kept.values()].map((entry) => entry.node);
    const same = nodes.length === this.#list.children.length && nodes.every((node, index) => node === this.#list.children[index]);
    // Moving an element takes the focus away: only when the set of tasks changes.
    if (!same) this.#list.replaceChildren(...nodes);
  }
}

function compare(a, b) {
  const [left, right] = [a, b].map((task) => `${task.benchmark}\n${task.model}\n${task.id}`);
  return left < right ? -1 : left > right ? 1 : 0;
}

function summary(epoch, tasks) {
  if (epoch === null || epoch === undefined) return "Tasks are derived when the first epoch opens.";
  if (tasks.length === 0) return "No task is due in this epoch.";
  const parts = WORDS.map((state) => {
    const number = tasks.filter((task) => task.state === state).length;
    return number > 0 && `${count(number)} ${taskState({ state }).word}`;
  });
  const hidden = tasks.length > SHOWN ? ` First ${SHOWN} below.` : "";
  return `${plural(tasks.length, "task")}: ${parts.filter(Boolean).join(", ")}.${hidden}`;
}

function draw(node, task) {
  const runners = [...(task.runners ?? [])].sort((a, b) => a.rank - b.rank);
  const { glyph, word, tone } = taskState(task);
  const head = [
    element("span", { class: "task-model" }, foreign(task.model, 60)),
    element("span", { class: "task-state", "data-tone": tone },
      glyph && element("span", { class: "glyph", "aria-hidden": "true" }, `${glyph} `), word),
    element("span", { class: "task-benchmark" }, foreign(task.benchmark, 60), `, ${plural(task.depth, "question")}${purpose(task)}`),
    element("span", { class: "task-agree" }, agreement(task, runners)),
    segments(runners),
  ];
  const who = runners.map((runner) =>
    element("tr", {},
      element("td", {}, element("code", {}, short(runner.account)), runner.mine && " (this node)"),
      element("td", {}, runner.assigned ? "assigned" : "spare"),
      element("td", { class: "number" }, stage(runner))));
  const table = element("table", { class: "who" },
    element("caption", { class: "unseen" }, "Runners"),
    element("thead", { class: "unseen" },
      element("tr", {}, ["Account", "Part", "Stage"].map((title) => element("th", { scope: "col" }, title)))),
    element("tbody", {}, who));
  const body = [element("p", { class: "quiet" }, `${count(task.quorum)} must agree. `, modelLink(task.model_id, "Model page")), table];
  const open = node.firstElementChild;
  if (open === null) node.append(element("details", {}, element("summary", {}, head), body));
  else {
    open.firstElementChild.replaceChildren(...head);
    open.replaceChildren(open.firstElementChild, ...body);
  }
}

function purpose(task) {
  return task.purpose === "regular" ? "" : `, ${task.purpose}`;
}

/** "3 of 4 agree"; before the first reveal, how many have sealed an answer. */
function agreement(task, runners) {
  const assigned = runners.filter((runner) => runner.assigned).length;
  if (runners.some((runner) => runner.revealed)) return `${count(task.agreeing)} of ${count(assigned)} agree`;
  return `${count(task.committed)} of ${count(assigned)} sealed`;
}

function stage(runner) {
  if (runner.revealed) return "revealed";
  if (runner.committed) return "sealed";
  return Number.isFinite(runner.progress) ? `${Math.floor(100 * runner.progress)} %` : "not begun";
}

// One bar per runner: filled as far as it has come, outlined once sealed, solid once revealed.
function segments(runners) {
  const gap = 2;
  const full = (100 - gap * (runners.length - 1)) / Math.max(1, runners.length);
  const bars = runners.flatMap((runner, index) => {
    const x = `${(index * (full + gap)).toFixed(2)}%`;
    const share = runner.revealed || runner.committed ? 1 : Math.min(1, Math.max(0, runner.progress ?? 0));
    const tone = runner.revealed ? "revealed" : runner.committed ? "sealed" : "going";
    const shape = { x, y: "0", height: "100%", rx: "2" };
    return [
      svg("rect", { class: "track", width: `${full.toFixed(2)}%`, ...shape }),
      svg("rect", { class: tone, width: `${(full * share).toFixed(2)}%`, ...shape }),
    ];
  });
  return svg("svg", { class: "segments", "aria-hidden": "true" }, bars);
}
