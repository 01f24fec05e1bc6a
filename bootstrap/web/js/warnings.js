// What the server has found wrong, with the log or itself, above the board; and whether witnesses saw the newest mark.

import { element, foreign } from "./element.js";
import { count } from "./words.js";

const GRAVITY = { fail: ["×", "failed"], warn: ["!", "look"], note: ["·", "note"] };
const MOST = 12;

export class WarningList {
  #place;
  #announcer;
  #drawn = "[]";

  constructor(place, announcer) {
    this.#place = place;
    this.#announcer = announcer;
  }

  /** Shows these warnings of the API, the gravest first; anything that is none is left out. */
  take(warnings) {
    const known = (Array.isArray(warnings) ? warnings : [])
      .filter((each) => typeof each?.title === "string" && Object.hasOwn(GRAVITY, each.severity));
    const order = Object.keys(GRAVITY);
    const shown = known.sort((one, other) => order.indexOf(one.severity) - order.indexOf(other.severity)).slice(0, MOST);
    const drawing = JSON.stringify(shown);
    if (drawing === this.#drawn) return;
    this.#drawn = drawing;
    this.#place.hidden = shown.length === 0;
    this.#place.replaceChildren(...shown.map(item));
    const gravest = shown.find((each) => each.severity === "fail");
    if (gravest) this.#announcer.say(`Warning: ${gravest.title}`);
  }
}

function item({ code, severity, title, remedy }) {
  const [glyph, word] = GRAVITY[severity];
  return element("li", { "data-severity": severity, "data-code": code },
    element("span", { class: "glyph", "aria-hidden": "true" }, glyph),
    element("span", { class: "unseen" }, `${word}: `),
    element("span", {}, foreign(title, 400), remedy ? [" ", element("span", { class: "quiet" }, foreign(remedy, 300))] : null));
}

/** How many witnesses cosigned the newest mark, as a fact for the checkpoint's line; null where there are none. */
export function witnessesFact(witnesses) {
  if (typeof witnesses?.witnessed !== "boolean") return null;
  const { witnessed, cosigned, of, quorum } = witnesses;
  const words = witnessed
    ? `witnessed by ${count(cosigned)} of ${count(of)}`
    : `unwitnessed: ${count(cosigned)} of ${count(of)}, ${count(quorum)} needed`;
  return element("span", { class: witnessed ? "fact" : "fact note", id: "witnesses" }, words);
}
