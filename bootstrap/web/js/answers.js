// Answers of the HTTP API, as values or as one kind of error.

const PATIENCE_MS = 10_000;

/** `reason` is a sentence for people; `status` is the HTTP status, 0 where nobody answered. */
export class NoAnswer extends Error {
  constructor(reason, status = 0) {
    super(reason);
    this.name = "NoAnswer";
    this.status = status;
  }
}

/** The bytes and the parsed JSON of a GET; NoAnswer for everything else. */
export async function ask(path) {
  let response, bytes;
  try {
    response = await fetch(path, { cache: "no-cache", signal: AbortSignal.timeout(PATIENCE_MS) });
    bytes = await response.arrayBuffer();
  } catch {
    throw new NoAnswer("The server does not answer");
  }
  let body;
  try {
    body = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new NoAnswer(`The server answers ${response.status}, with something that is not JSON`, response.status);
  }
  if (!response.ok || body?.data === null || typeof body?.data !== "object") {
    const title = body?.error?.title;
    throw new NoAnswer(title ? `The server says: ${title}` : `The server answers ${response.status}`, response.status);
  }
  return { bytes, body };
}

/** The SHA-256 of the bytes in hex, or null where the browser offers none (plain HTTP beyond this machine). */
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
