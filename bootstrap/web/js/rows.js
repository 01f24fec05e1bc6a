// The board's rows: order, search, groups, what changed. Nothing here touches the page.

const byRank = (a, b) =>
  order(a.rank_low ?? Infinity, b.rank_low ?? Infinity) ||
  order(a.rank_high ?? Infinity, b.rank_high ?? Infinity) ||
  order(b.score ?? -1, a.score ?? -1) ||
  order(a.id, b.id);

const ORDERS = {
  rank: { compare: byRank, direction: "ascending" },
  model: { compare: (a, b) => String(a.name).localeCompare(String(b.name), "en"), direction: "ascending" },
  score: { compare: (a, b) => order(b.score ?? -1, a.score ?? -1), direction: "descending" },
  questions: { compare: (a, b) => order(b.questions, a.questions), direction: "descending" },
  runners: { compare: (a, b) => order(b.runners, a.runners), direction: "descending" },
};

const SHOWN = [
  "rank_low", "rank_high", "model", "name", "score", "low", "high", "fp_low", "fp_high",
  "questions", "of", "runners", "status",
];

function order(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The sort that a query names ("score"; "-score" is its reverse), else by rank. */
export function sortNamed(text) {
  const reversed = String(text).startsWith("-");
  const key = reversed ? text.slice(1) : text;
  return Object.hasOwn(ORDERS, key) ? { key, reversed } : { key: "rank", reversed: false };
}

export function sortName({ key, reversed }) {
  return (reversed ? "-" : "") + key;
}

/** For aria-sort: which way this column runs under this sort, or null if another column decides. */
export function direction(sort, key) {
  if (sort.key !== key) return null;
  const natural = ORDERS[key].direction;
  if (!sort.reversed) return natural;
  return natural === "ascending" ? "descending" : "ascending";
}

export function sorted(rows, sort) {
  const { compare } = ORDERS[sort.key];
  const sign = sort.reversed ? -1 : 1;
  return [...rows].sort((a, b) => sign * compare(a, b) || byRank(a, b));
}

/** Rows by benchmark, names in order: a Map from name to rows. */
export function grouped(rows) {
  const groups = new Map();
  for (const row of rows) {
    if (!groups.has(row.benchmark)) groups.set(row.benchmark, []);
    groups.get(row.benchmark).push(row);
  }
  return new Map([...groups].sort(([a], [b]) => order(a, b)));
}

/** Whether every word of the search is in the model's name or reference. */
export function matches(row, search) {
  const text = `${row.name} ${row.model}`.toLowerCase();
  return search.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

const keyOf = (row) => `${row.id} ${row.benchmark}`;

/** How many rows look different: changed, new or gone. */
export function countChanges(before, after) {
  const old = new Map(before.map((row) => [keyOf(row), row]));
  let changed = 0;
  for (const row of after) {
    const known = old.get(keyOf(row));
    old.delete(keyOf(row));
    if (known === undefined || SHOWN.some((field) => known[field] !== row[field])) changed += 1;
  }
  return changed + old.size;
}

/** Whether the data cannot say which of the two is better. */
export function inseparable(a, b) {
  return a.benchmark === b.benchmark && a.rank_low <= b.rank_high && b.rank_low <= a.rank_high;
}
