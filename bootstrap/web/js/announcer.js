// Speaks to screen readers politely: the newest sentence, at most once a minute.

const INTERVAL_MS = 60_000;

export class Announcer {
  #region;
  #waiting = null;
  #timer = null;

  constructor(region) {
    this.#region = region;
  }

  say(sentence) {
    this.#waiting = sentence;
    if (this.#timer === null) this.#speak();
  }

  #speak() {
    this.#timer = null;
    if (this.#waiting === null) return;
    this.#region.textContent = this.#waiting;
    this.#waiting = null;
    this.#timer = setTimeout(() => this.#speak(), INTERVAL_MS);
  }
}
