// The board's page: what is shown, what is newer, and the reader's choices (kept in the address).

import { ActivityList } from "./activity.js";
import { Announcer } from "./announcer.js";
import { ask, sha256 } from "./answers.js";
import { checkpointLine } from "./checkpoint.js";
import { Connection } from "./connection.js";
import { clean, element, foreign } from "./element.js";
import { EpochStrip } from "./epoch.js";
import { countChanges, grouped, matches, sorted, sortName, sortNamed } from "./rows.js";
import { save, saved } from "./saved.js";
import { boardTable } from "./table.js";
import { TaskList } from "./tasks.js";
import { WarningList, witnessesFact } from "./warnings.js";
import { age, clock, count, duration, plural } from "./words.js";

const place = (id) => document.getElementById(id);
const announcer = new Announcer(place("announcer"));
const epochStrip = new EpochStrip(place("epoch"));
const taskList = new TaskList(place("tasks"), place("task-counts"));
const warningList = new WarningList(place("warnings"), announcer);
const activityList = new ActivityList(place("activity"));

const view = {
  shown: null, // {answer, digest}: what the tables hold
  newest: null, // the same, as the server gave it last
  heardAt: null, // when it gave it, milliseconds
  state: "connecting",
  failure: "",
  begun: null, // whether an epoch has been opened, null while unknown
  shorter: false,
  witnesses: null, // of the newest mark
};

const query = new URLSearchParams(location.search);
const choice = {
  benchmark: query.get("benchmark") ?? "",
  search: query.get("q") ?? "",
  sort: sortNamed(query.get("sort") ?? "rank"),
};

function rememberChoice() {
  const kept = new URLSearchParams();
  if (choice.benchmark) kept.set("benchmark", choice.benchmark);
  if (choice.search) kept.set("q", choice.search);
  if (sortName(choice.sort) !== "rank") kept.set("sort", sortName(choice.sort));
  const text = kept.toString();
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
}

const rowsOf = (held) => held?.answer.data.rows ?? [];

// Tables

function drawTables() {
  const groups = grouped(rowsOf(view.shown));
  offerBenchmarks([...groups.keys()]);
  const sections = [];
  for (const [benchmark, all] of groups) {
    if (choice.benchmark && choice.benchmark !== benchmark) continue;
    const found = all.filter((row) => matches(row, choice.search.trim()));
    if (found.length === 0) continue;
    const shown = sorted(found, choice.sort);
    sections.push(boardTable({ benchmark, all, shown, sort: choice.sort, onSort: changeSort }));
  }
  if (sections.length === 0) sections.push(emptyPlace(groups.size));
  place("tables").replaceChildren(...sections);
}

function offerBenchmarks(names) {
  const select = place("benchmark");
  const wanted = choice.benchmark && !names.includes(choice.benchmark) ? [...names, choice.benchmark] : names;
  const options = wanted.map((name) => {
    const option = element("option", {}, name);
    option.value = name;
    return option;
  });
  select.replaceChildren(element("option", { value: "" }, "all"), ...options);
  select.value = choice.benchmark;
}

function emptyPlace(benchmarks) {
  const text = element("p", { class: "empty", id: "empty" });
  if (benchmarks === 0) {
    text.append(emptySentence());
    return text;
  }
  const clear = element("button", { type: "button" }, "Show all models");
  clear.addEventListener("click", () => {
    choose({ search: "", benchmark: "" });
    place("search").focus();
  });
  const where = choice.benchmark ? [" on ", foreign(choice.benchmark)] : [];
  const what = choice.search.trim() ? ["No model matches “", foreign(choice.search.trim(), 60), "”"] : ["No model has a result"];
  text.append(element("span", {}, what, where, ". "), clear);
  return text;
}

function emptySentence() {
  if (view.shown === null) return view.failure ? `${view.failure}, and this browser holds no saved copy. Retrying.` : "Reading the board …";
  const left = epochStrip.secondsLeft();
  if (view.begun === false) return "No result yet. The first epoch has not opened.";
  if (left === null || view.state === "lost") return "No result yet.";
  return left < 0.5 ? "No result yet. The epoch is closing." : `No result yet. ${which()} epoch closes in ${duration(left)}.`;
}

const which = () => ((view.newest?.answer.data.epoch ?? null) === null ? "The first" : "This");

function changeSort(key) {
  const { key: current, reversed } = choice.sort;
  choose({ sort: { key, reversed: key === current && !reversed } });
  document.querySelector(`[data-sort="${key}"]`)?.focus();
}

function choose(changes) {
  Object.assign(choice, changes);
  place("search").value = choice.search;
  rememberChoice();
  drawTables();
}

// What the server says

function offer(held) {
  const before = view.shown?.answer;
  const otherNetwork = before && before.network !== held.answer.network;
  view.shorter = Boolean(before) && !otherNetwork && held.answer.checkpoint?.size < before.checkpoint?.size;
  view.newest = held;
  const changed = countChanges(rowsOf(view.shown), rowsOf(held));
  // Rows never move by themselves; but nothing moves where there were none.
  if (otherNetwork || rowsOf(view.shown).length === 0) showNewest();
  else if (changed === 0) {
    view.shown = held;
    place("changes").hidden = true;
    drawCheckpoint();
  } else {
    const sentence = `${plural(changed, "row")} changed`;
    place("show").replaceChildren(sentence, " · ", element("b", {}, "Show"));
    if (place("changes").hidden) announcer.say(`The board has a newer version: ${sentence}.`);
    place("changes").hidden = false;
    drawCheckpoint();
  }
}

function showNewest() {
  view.shown = view.newest;
  place("changes").hidden = true;
  drawTables();
  drawCheckpoint();
}

function drawCheckpoint() {
  if (view.shown === null) return;
  const { answer, digest } = view.shown;
  const { size } = answer.checkpoint ?? {};
  const { epoch } = answer.data;
  const closed = (epoch ?? null) === null ? "No epoch closed yet" : `After epoch ${count(epoch)}`;
  place("stands").replaceChildren(`${closed}, log ${count(size)}, `, element("a", { href: "#checkpoint" }, "not checked here"));
  const line = checkpointLine(answer, digest);
  const open = place("checkpoint").querySelector("details")?.open ?? false;
  place("checkpoint").replaceChildren(...line);
  place("checkpoint").querySelector("details").open = open;
  const newer = view.newest !== null && view.newest !== view.shown;
  const words = view.shorter
    ? `! the server now gives a shorter log: ${count(view.newest.answer.checkpoint.size)}`
    : newer ? `newer: epoch ${count(view.newest.answer.data.epoch)}` : null;
  const witnesses = witnessesFact(view.witnesses);
  if (witnesses) line[0].querySelector(".unchecked").before(witnesses);
  if (words) line[0].append(element("span", { class: "note" }, words));
}

async function refetch() {
  try {
    const [board, status, tasks] = await Promise.all([ask("/v1/leaderboard"), ask("/v1/status"), ask("/v1/tasks")]);
    const digest = await sha256(board.bytes);
    if (!Array.isArray(board.body.data.rows)) throw new TypeError("rows");
    view.heardAt = Date.now();
    takeStatus(status.body.data);
    warningList.take(status.body.warnings);
    taskList.take(tasks.body.data);
    offer({ answer: board.body, digest });
    save(board.body, view.heardAt);
    view.failure = "";
    return true;
  } catch (error) {
    view.failure = error.name === "NoAnswer" ? error.message : "The server's answer has an unknown form";
    return false;
  }
}

function takeStatus(status) {
  const hadBegun = view.begun;
  view.begun = Boolean(status.epoch);
  epochStrip.take(status);
  place("network").textContent = clean(status.network?.name ?? "");
  if (hadBegun !== view.begun) tick();
  const before = JSON.stringify(view.witnesses);
  view.witnesses = status.log?.witnesses ?? null;
  if (JSON.stringify(view.witnesses) !== before) drawCheckpoint();
}

function takeEvent(name, data) {
  if (name === "status") {
    takeStatus(data);
    if (Array.isArray(data.warnings)) warningList.take(data.warnings);
  }
  if (name === "tasks") taskList.take(data);
  else if (name === "activity") activityList.take(data);
  else if (name === "board") connection.refetchSoon();
}

// Connection

const STATES = { connecting: "connecting …", live: "● live", polling: "○ no live events", lost: "! no answer" };

function takeState(state) {
  if (state === "lost" && view.state !== "lost") announcer.say(`${view.failure}. Retrying.`);
  if (state !== "lost" && view.state === "lost") announcer.say("The server answers again.");
  view.state = state;
  if (state === "lost" && view.shown === null) showSaved();
  tick();
}

function showSaved() {
  const copy = saved();
  if (copy === null) return;
  view.heardAt = copy.at;
  view.shown = view.newest = { answer: copy.body, digest: null };
  drawTables();
  drawCheckpoint();
}

function drawOffline() {
  const lost = view.state === "lost";
  place("offline").hidden = !lost;
  if (!lost) return;
  const since = view.heardAt;
  const copy = since === null ? "" : `Saved copy of ${clock(since)}; ${age(Date.now() - since)}. `;
  const words = `${copy}${view.failure}; retrying.`;
  if (place("offline").textContent !== words) place("offline").textContent = words;
}

function tick() {
  const badge = place("connection");
  badge.dataset.state = view.state;
  if (badge.textContent !== STATES[view.state]) badge.textContent = STATES[view.state];
  document.body.classList.toggle("lost", view.state === "lost");
  epochStrip.tick(view.state !== "lost");
  drawOffline();
  const empty = place("empty");
  if (empty !== null && rowsOf(view.shown).length === 0) empty.textContent = emptySentence();
}

const connection = new Connection({ refetch, onEvent: takeEvent, onState: takeState });

// The reader's keys and choices

function moveBetweenModels(step) {
  const links = [...document.querySelectorAll("#tables .model-link")];
  const here = links.indexOf(document.activeElement);
  if (here < 0) return false;
  links[here + step]?.focus();
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const writing = event.target.closest?.("input, select, textarea");
  if (event.key === "/" && !writing) {
    place("search").focus();
    place("search").select();
    event.preventDefault();
  } else if (event.key === "Escape" && event.target === place("search")) {
    choose({ search: "" });
  } else if (event.key === "ArrowDown" && event.target === place("search")) {
    document.querySelector("#tables .model-link")?.focus();
    event.preventDefault();
  } else if (!writing && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    if (moveBetweenModels(event.key === "ArrowDown" ? 1 : -1)) event.preventDefault();
  }
});
place("search").addEventListener("input", (event) => choose({ search: event.target.value }));
place("benchmark").addEventListener("change", (event) => choose({ benchmark: event.target.value }));
place("show").addEventListener("click", () => {
  showNewest();
  place("board").focus({ preventScroll: true });
  announcer.say("The newer board is shown.");
});
document.addEventListener("visibilitychange", () => document.hidden || connection.retry());

place("search").value = choice.search;
setInterval(tick, 1000);
connection.run();
