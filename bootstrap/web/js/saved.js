// The last board that the server gave, kept in this browser for when it does not answer.

const KEY = "peerboard.board";
const LONGEST = 1_500_000;

export function save(body, at) {
  try {
    const text = JSON.stringify({ at, body });
    if (text.length <= LONGEST) localStorage.setItem(KEY, text);
  } catch {
    // A full or forbidden storage only means that there is no saved copy.
  }
}

/** `{at, body}` (milliseconds, answer) or null. */
export function saved() {
  try {
    const copy = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(copy.body.data.rows) && Number.isFinite(copy.at) ? copy : null;
  } catch {
    return null;
  }
}
