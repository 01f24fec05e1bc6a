// What happened lately, newest first. A server that we meet again tells its last events once more: they are shown once.

import { element, foreign } from "./element.js";
import { clock } from "./words.js";

const KEPT = 50;
const LEVELS = { ok: ["✓", "ok"], note: ["·", "note"], warn: ["!", "look"], fail: ["×", "failed"] };

export class ActivityList {
  #place;
  #items = [];
  #due = false;

  constructor(place) {
    this.#place = place;
    this.#draw();
  }

  take(item) {
    const key = JSON.stringify([item.sequence, item.time, item.text]);
    if (this.#items.some((other) => other.key === key)) return;
    this.#items = [{ key, ...item }, ...this.#items].slice(0, KEPT);
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#due = false;
    if (this.#items.length === 0) {
      this.#place.replaceChildren(element("li", { class: "quiet" }, "Nothing yet."));
      return;
    }
    this.#place.replaceChildren(...this.#items.map(({ time, level, text }) => {
      const [glyph, word] = LEVELS[level] ?? LEVELS.note;
      return element("li", { "data-level": level },
        element("time", { datetime: time }, clock(time, true)),
        element("span", { class: "glyph", "aria-hidden": "true" }, glyph),
        element("span", { class: "unseen" }, `${word}: `),
        element("span", { class: "text" }, foreign(text, 300)));
    }));
  }
}
