// Text from the network reaches the page only through here: as text nodes and attributes, never as markup.

// Control, format (bidi, zero-width), surrogate, private and unassigned characters, line separators, blank letters.
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;
const PLAIN = /^[ -~]*$/; // nearly all there is, and cheaper to see
const PILED_MARKS = /(\p{M}{2})\p{M}+/gu;
const SVG = "http://www.w3.org/2000/svg";

/** The text with every character that could hide or reorder others made visible as U+FFFD. */
export function clean(text) {
  const whole = String(text);
  return PLAIN.test(whole) ? whole : whole.replace(UNSEEN, "\ufffd").replace(PILED_MARKS, "$1");
}

/** Foreign text, isolated from the direction of its surroundings and cut in the middle beyond `longest` characters. */
export function foreign(text, longest = 160) {
  const characters = Array.from(clean(text ?? ""));
  if (characters.length > longest) {
    const half = Math.floor(longest / 2);
    characters.splice(half, characters.length - 2 * half, "…");
  }
  return element("bdi", {}, characters.join(""));
}

export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, clean(value));
  }
  for (const child of children.flat()) {
    if (child instanceof Node) node.append(child);
    else if (child !== null && child !== undefined && child !== false) node.append(clean(child));
  }
  return node;
}

/** A link to a model's page, or the bare name where the id is not one. */
export function modelLink(id, name) {
  if (!/^[0-9a-f]{64}$/.test(id)) return foreign(name);
  return element("a", { href: `/model/?id=${id}`, class: "model-link" }, foreign(name));
}
