// The checkpoint that a board stands on, and how to check it elsewhere: a page cannot vouch for its own host.

import { element } from "./element.js";
import { count, short } from "./words.js";

const VERIFY = `peerboard verify ${location.origin}`;
const COMMAND = "peerboard leaderboard --json | sha256sum";

/** Content for the checkpoint's place. `digest`: SHA-256 of the answer's bytes in hex, or null. */
export function checkpointLine(answer, digest) {
  const { size, root, epoch } = answer.checkpoint ?? {};
  const fact = (name, value) => element("span", { class: "fact" }, element("span", { class: "quiet" }, `${name} `), value);
  const line = element("p", { class: "facts" },
    fact("log", count(size)),
    fact("root", element("code", {}, short(root, 12))),
    fact("epoch", count(epoch)),
    element("strong", { class: "unchecked" }, "not checked here"),
  );
  const sum = digest === null
    ? element("p", {}, "This browser computes no SHA-256 on an unencrypted page. Fetch ", element("code", {}, "/v1/leaderboard"), " and pipe it into sha256sum instead.")
    : element("p", {}, "The bytes that this page was given have the SHA-256 ", element("code", { class: "digest" }, digest));
  const how = element("details", {},
    element("summary", {}, "How to check"),
    element("p", {}, "This page shows what this server says and cannot vouch for it. Recompute the board from the signed log, on a machine of yours:"),
    element("pre", {}, element("code", {}, VERIFY)),
    element("p", {}, "A node of yours computes the same board:"),
    element("pre", {}, element("code", {}, COMMAND)),
    sum,
    element("p", {}, "At the same log both are the same. Root in full: ", element("code", { class: "digest" }, root ?? "–")),
  );
  return [line, how];
}
