// The strip at the top: which epoch is open, its phase, how long it lasts. Counts down by itself between answers.

import { element } from "./element.js";
import { count, duration } from "./words.js";

const PHASES = [
  ["evaluate", "evaluating"],
  ["sealed", "sealed"],
  ["reveal", "revealing"],
];
const ORDINARY_STATES = new Set(["waiting", "evaluating"]);
const OTHER_STATES = {
  starting: "This server is starting.",
  catching_up: "This server is catching up with the log.",
  paused: "This server is paused.",
  stopping: "This server is stopping.",
};

export class EpochStrip {
  #place;
  #status = null;
  #heardAt = 0;
  #drawn = "";

  constructor(place) {
    this.#place = place;
  }

  take(status) {
    this.#status = status;
    this.#heardAt = performance.now();
    this.tick();
  }

  /** Seconds until the open epoch closes, or null before the first mark. */
  secondsLeft() {
    const epoch = this.#status?.epoch;
    if (!Number.isFinite(epoch?.ends_in_s)) return null;
    return Math.max(0, epoch.ends_in_s - (performance.now() - this.#heardAt) / 1000);
  }

  /** Draws anew if anything visible changed; `fresh` is false while the server does not answer. */
  tick(fresh = true) {
    const left = this.secondsLeft();
    const close = left === null ? "" : left < 0.5 ? "closing" : `closes in ${duration(left)}`;
    const wanted = JSON.stringify([close, fresh, this.#status]);
    if (wanted === this.#drawn) return;
    this.#drawn = wanted;
    this.#place.replaceChildren(...this.#content(close, fresh));
  }

  #content(close, fresh) {
    const { epoch, state, reasons } = this.#status ?? {};
    const notes = [];
    if (state !== undefined && !ORDINARY_STATES.has(state)) {
      const why = (reasons ?? []).map((reason) => reason.title).join("; ");
      notes.push(element("span", { class: "note" }, OTHER_STATES[state] ?? `This server: ${state}.`, why && ` ${why}`));
    }
    if (this.#status === null) return notes;
    if (!epoch) return [element("span", { class: "quiet" }, "No epoch is open yet."), ...notes];
    const names = PHASES.map(([phase, word]) =>
      element("li", { "aria-current": phase === epoch.phase ? "step" : null }, word));
    if (epoch.leaderless) notes.push(element("span", { class: "note" }, "! leaderless: provisional until the log's next mark"));
    return [
      element("strong", {}, `Epoch ${count(epoch.number)}`),
      element("ol", { class: "phases", "aria-label": "Phase" }, names),
      element("span", { class: "left" }, fresh ? close : "time left unknown"),
      ...notes,
    ];
  }
}
