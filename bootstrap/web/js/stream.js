// Server-sent events over fetch: unlike EventSource it sees the comments that keep a connection alive, and so can
// tell a quiet server from a dead one.

const LONGEST = 4 << 20;

/** Splits text into events (WHATWG HTML, 9.2.6): push chunks, get `{name, data}` for each complete one. */
export class EventParser {
  #rest = "";
  #name = "";
  #data = [];

  push(chunk) {
    const text = this.#rest + chunk;
    // A carriage return at the very end may be half of a line break.
    const cut = text.endsWith("\r") ? text.length - 1 : text.length;
    const lines = text.slice(0, cut).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() + text.slice(cut);
    if (this.#rest.length > LONGEST) throw new Error("an event is too long");
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line) {
    if (line === "") {
      const event = { name: this.#name || "message", data: this.#data.join("\n") };
      const complete = this.#data.length > 0;
      this.#name = "";
      this.#data = [];
      return complete ? [event] : [];
    }
    const [, field, value] = /^([^:]*)(?:: ?(.*))?$/su.exec(line) ?? [];
    if (field === "event") this.#name = value ?? "";
    if (field === "data") this.#data.push(value ?? "");
    return [];
  }
}

/**
 * Reads events until the connection ends or `silence` milliseconds pass without a byte. `onOpen` is called once the
 * server has agreed, `onEvent(name, object)` for each event; aborting `stop` ends it. Resolves at the end, never rejects.
 */
export async function readEvents(path, { silence, onOpen, onEvent, stop }) {
  const control = new AbortController();
  const end = () => control.abort();
  let watch = setTimeout(end, silence);
  stop.addEventListener("abort", end, { once: true });
  try {
    const response = await fetch(path, {
      headers: { Accept: "text/event-stream" },
      cache: "no-store",
      signal: control.signal,
    });
    if (!response.ok || !response.headers.get("content-type")?.startsWith("text/event-stream")) return;
    onOpen();
    const parser = new EventParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(end, silence);
      for (const event of parser.push(value)) {
        const data = JSON.parse(event.data);
        if (data !== null && typeof data === "object") onEvent(event.name, data);
      }
    }
  } catch {
    // The caller asks the server why, or tries again.
  } finally {
    clearTimeout(watch);
    stop.removeEventListener("abort", end);
    end();
  }
}
