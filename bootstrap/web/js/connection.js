// Keeps the page in step with the server: one stream of events, everything fetched anew when it opens, breaks or
// skips a number, and patience in between.

import { readEvents } from "./stream.js";

const SILENCE_MS = 15_000; // a comment comes every five seconds
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 15_000;
const GATHER_MS = 250;

/**
 * `refetch()` reads everything and resolves to whether the server answered. `onEvent(name, data)` gets the events.
 * `onState(state)`: "live", "polling" (answers, but no events) or "lost".
 */
export class Connection {
  #refetch;
  #onEvent;
  #onState;
  #last = null;
  #gathering = null;
  #reading = null;
  #again = false;
  #wake = () => {};

  constructor({ refetch, onEvent, onState }) {
    this.#refetch = refetch;
    this.#onEvent = onEvent;
    this.#onState = onState;
  }

  /** Runs for as long as the page is there. */
  async run() {
    let pause = FIRST_PAUSE_MS;
    for (;;) {
      const stop = new AbortController();
      await readEvents("/v1/events", {
        silence: SILENCE_MS,
        stop: stop.signal,
        onOpen: async () => {
          this.#last = null;
          // Only now: whatever changes from here on comes as an event.
          if (await this.#read()) {
            pause = FIRST_PAUSE_MS;
            this.#onState("live");
          } else stop.abort();
        },
        onEvent: (name, data) => this.#take(name, data),
      });
      this.#onState((await this.#read()) ? "polling" : "lost");
      await this.#sleep(pause * (0.75 + Math.random() / 2));
      pause = Math.min(LONGEST_PAUSE_MS, 2 * pause);
    }
  }

  /** Try now, not at the end of the pause: the reader has come back. */
  retry() {
    this.#wake();
  }

  /** Fetches everything soon, once, however often it is called meanwhile. */
  refetchSoon() {
    this.#gathering ??= setTimeout(() => {
      this.#gathering = null;
      this.#read();
    }, GATHER_MS);
  }

  #take(name, data) {
    const expected = this.#last === null ? data.sequence : this.#last + 1;
    this.#last = data.sequence;
    if (data.sequence !== expected) this.refetchSoon();
    this.#onEvent(name, data);
  }

  // One reading at a time; a call during one is answered by another after it.
  #read() {
    if (this.#reading !== null) {
      this.#again = true;
      return this.#reading;
    }
    this.#reading = (async () => {
      let ok;
      do {
        this.#again = false;
        ok = await this.#refetch();
      } while (this.#again);
      this.#reading = null;
      return ok;
    })();
    return this.#reading;
  }

  #sleep(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
