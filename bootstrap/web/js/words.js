// Numbers, times and states as people read them.

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const MEASURED = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const CLOCK = { hour: "2-digit", minute: "2-digit", hour12: false };

export const FEW_QUESTIONS = 60;

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** 1234 → "1,234"; with a true minus; "–" for nothing. */
export function count(value) {
  return isNumber(value) ? GROUPED.format(value).replace("-", "−") : "–";
}

/** A percentage with one decimal, or in whole points where few questions stand behind it. */
export function score(value, questions) {
  if (!isNumber(value)) return "–";
  return value.toFixed(questions < FEW_QUESTIONS ? 0 : 1).replace("-", "−");
}

/** "66–73", "1–2", or one number where both ends are the same; "–" for nothing. */
export function range(low, high) {
  if (!isNumber(low) || !isNumber(high)) return "–";
  const [from, to] = [count(low), count(high)];
  return from === to ? from : `${from}–${to}`;
}

/** Three significant digits, whatever the size: "0.0564", "12.3", "4,210"; "–" for nothing. */
export function measured(value) {
  return isNumber(value) ? MEASURED.format(value) : "–";
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** "640 of 1,319" in two parts; everything asked reads "all". */
export function questionsAsked(asked, of) {
  if (!isNumber(asked)) return ["–", ""];
  return asked === of ? [count(asked), "all"] : [count(asked), `of ${count(of)}`];
}

/** Seconds ahead: "42 s", "3 min 20 s", "2 h 5 min". */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 100) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** How old something is, coarsely: nobody needs the seconds. */
export function age(milliseconds) {
  const minutes = Math.floor(Math.max(0, milliseconds) / 60_000);
  if (minutes < 1) return "less than a minute old";
  if (minutes < 60) return `${minutes} min old`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h old` : `${Math.floor(hours / 24)} days old`;
}

/** Hour and minute on the reader's clock; `seconds` adds them. "–" for what is no time. */
export function clock(time, seconds = false) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return "–";
  return date.toLocaleTimeString("en-GB", seconds ? { ...CLOCK, second: "2-digit" } : CLOCK);
}

export function bytes(size) {
  if (!isNumber(size)) return "–";
  if (size < 1e6) return `${count(Math.max(1, size / 1e3))} kB`;
  return size < 1e9 ? `${(size / 1e6).toFixed(1)} MB` : `${(size / 1e9).toFixed(1)} GB`;
}

/** The first `length` characters of a digest or key. */
export function short(hex, length = 8) {
  return String(hex ?? "").slice(0, length);
}

const VERDICTS = {
  DONE: ["", "final"],
  DISPUTED: ["!", "disputed"],
  FAILED: ["×", "failed"],
  EXPIRED: ["…", "expired"],
  WAITING: ["…", "waiting"],
};

const TASK_STATES = {
  ...VERDICTS,
  QUEUED: ["", "queued"],
  RUNNING: ["", "running"],
  DONE: ["~", "agreed"],
};

/** Glyph, word and tone (for the style sheet) of a final verdict. */
export function verdict(status) {
  return named(VERDICTS, status);
}

/** The same of an open task, whose agreement is provisional. */
export function taskState(task) {
  if (task.state === "DONE" && task.firm) return { glyph: "", word: "agreed, firm", tone: "DONE" };
  return named(TASK_STATES, task.state);
}

function named(table, key) {
  if (!Object.hasOwn(table, key)) return { glyph: "?", word: "unknown", tone: "unknown" };
  const [glyph, word] = table[key];
  return { glyph, word, tone: key };
}
