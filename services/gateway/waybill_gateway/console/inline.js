/** Markdown inside a line: code, emphasis, links and escapes, as nodes. Markup of HTML stays text. */

import { el } from "./element.js";
import { safeLink } from "./link.js";
import { visible } from "./text.js";

const MOST_DEPTH = 8;
const LONGEST_LABEL = 500;
const BARE = String.raw`[^\s()<]{0,2000}(?:\([^\s()]{0,2000}\)[^\s()]{0,2000})?`;
const TITLE = String.raw`"[^"\n]{0,500}"|'[^'\n]{0,500}'`;
const TARGET = new RegExp(String.raw`\(\s{0,9}(?:<([^<>\n]{0,2000})>|(${BARE}))(?:\s{1,9}(?:${TITLE}))?\s{0,9}\)`, "y");
const SPECIAL = /[\\`*_~[\]!<&\n]/g;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const LETTER = /[\p{L}\p{N}]/u;
/** @type {Record<string, string>} */
const ENTITIES = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  mdash: "—",
  ndash: "–",
  hellip: "…",
};

/**
 * @param {string} text
 * @param {number} [depth] how deep it stands in other markup
 * @returns {import("./element.js").Child[]}
 */
export function inline(text, depth = 0) {
  if (depth > MOST_DEPTH) return [visible(text)];
  return new InlineReader(text, depth).read();
}

/** Reads one text from the left, never going back, so that no text takes long. */
class InlineReader {
  /**
   * @param {string} text
   * @param {number} depth
   */
  constructor(text, depth) {
    this.text = text;
    this.depth = depth;
    this.at = 0;
    this.plain = "";
    /** @type {import("./element.js").Child[]} */
    this.nodes = [];
    /** Markers whose end was looked for in vain from some place on. @type {Map<string, number>} */
    this.missing = new Map();
  }

  read() {
    while (this.at < this.text.length) {
      SPECIAL.lastIndex = this.at;
      const found = SPECIAL.exec(this.text);
      const next = found ? found.index : this.text.length;
      this.plain += this.text.slice(this.at, next);
      this.at = next;
      if (found && !this.special(found[0])) {
        this.plain += found[0];
        this.at += 1;
      }
    }
    this.flush();
    return this.nodes;
  }

  /**
   * @param {string} mark
   * @returns {boolean} whether it meant something
   */
  special(mark) {
    switch (mark) {
      case "\\":
        return this.escaped();
      case "`":
        return this.code();
      case "\n":
        return this.lineEnd();
      case "&":
        return this.entity();
      case "<":
        return this.autolink();
      case "!":
        return this.text[this.at + 1] === "[" && this.link(true);
      case "[":
        return this.link(false);
      case "]":
        return false;
      default:
        return this.emphasis(mark);
    }
  }

  /** @param {...import("./element.js").Child} nodes */
  put(...nodes) {
    this.flush();
    this.nodes.push(...nodes);
    return true;
  }

  flush() {
    if (this.plain) this.nodes.push(visible(this.plain));
    this.plain = "";
  }

  escaped() {
    const next = this.text[this.at + 1];
    if (next === "\n") {
      this.at += 2;
      return this.put(el("br"));
    }
    if (!next || !PUNCTUATION.test(next)) return false;
    this.plain += next;
    this.at += 2;
    return true;
  }

  code() {
    const ticks = /`+/y;
    ticks.lastIndex = this.at;
    const fence = ticks.exec(this.text)?.[0] ?? "`";
    const from = this.at + fence.length;
    const end = this.find(fence, from, (at) => this.text[at - 1] !== "`" && this.text[at + fence.length] !== "`");
    if (end < 0) {
      this.plain += fence;
      this.at = from;
      return true;
    }
    let inside = this.text.slice(from, end).replaceAll("\n", " ");
    if (inside.trim() && inside.startsWith(" ") && inside.endsWith(" ")) inside = inside.slice(1, -1);
    this.at = end + fence.length;
    return this.put(el("code", {}, visible(inside)));
  }

  lineEnd() {
    let end = this.plain.length;
    while (this.plain[end - 1] === " ") end -= 1;
    const isHard = this.plain.length - end >= 2;
    this.plain = this.plain.slice(0, end) + (isHard ? "" : "\n");
    this.at += 1;
    return isHard ? this.put(el("br")) : this.put();
  }

  entity() {
    const form = /&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-z]{2,8}));/y;
    form.lastIndex = this.at;
    const found = form.exec(this.text);
    const meant = found && decoded(found[1], found[2], found[3]);
    if (!meant) return false;
    this.plain += meant;
    this.at += found[0].length;
    return true;
  }

  autolink() {
    const form = /<((?:https?|mailto):[^\s<>]{1,2000})>/iy;
    form.lastIndex = this.at;
    const found = form.exec(this.text);
    if (!found) return false;
    this.at += found[0].length;
    return this.put(safeLink(found[1], [visible(found[1])]));
  }

  /** @param {boolean} isImage of which the description is shown, and the picture never loaded */
  link(isImage) {
    const from = this.at + (isImage ? 2 : 1);
    const close = closing(this.text, from);
    if (close < 0 || this.text[close + 1] !== "(") return false;
    TARGET.lastIndex = close + 1;
    const found = TARGET.exec(this.text);
    if (!found) return false;
    const address = found[1] ?? found[2] ?? "";
    const label = this.text.slice(from, close);
    this.at = close + 1 + found[0].length;
    const content = isImage ? [`[picture: ${visible(label)}]`] : inline(label, MOST_DEPTH - 1);
    return this.put(safeLink(unescaped(address), content));
  }

  /** @param {string} mark */
  emphasis(mark) {
    let run = 1;
    while (this.text[this.at + run] === mark) run += 1;
    const before = this.text[this.at - 1] ?? " ";
    const after = this.text[this.at + run] ?? " ";
    const opens = run <= 3 && !/\s/.test(after) && (mark !== "_" || !LETTER.test(before));
    const from = this.at + run;
    const end =
      opens && run === (mark === "~" ? 2 : run) ? this.find(mark.repeat(run), from, this.closer(mark, run)) : -1;
    if (end > from) {
      const inside = inline(this.text.slice(from, end), this.depth + 1);
      this.at = end + run;
      if (mark === "~") return this.put(el("s", {}, inside));
      const emphasised = run === 2 ? inside : el("em", {}, inside);
      return this.put(run === 1 ? emphasised : el("strong", {}, emphasised));
    }
    this.plain += mark.repeat(run);
    this.at += run;
    return true;
  }

  /**
   * @param {string} mark
   * @param {number} length
   * @returns {(at: number) => boolean} whether a marker of this length that stands there ends an emphasis
   */
  closer(mark, length) {
    return (at) => {
      const before = this.text[at - 1] ?? " ";
      const after = this.text[at + length] ?? " ";
      if (/\s/.test(before) || before === "\\" || before === mark) return false;
      if (length === 1 && after === mark) return false;
      return mark !== "_" || !LETTER.test(after);
    };
  }

  /**
   * @param {string} marker
   * @param {number} from
   * @param {(at: number) => boolean} fits
   * @returns {number} -1 if there is none; then nobody looks for it again
   */
  find(marker, from, fits) {
    if ((this.missing.get(marker) ?? Infinity) <= from) return -1;
    for (let at = this.text.indexOf(marker, from); at >= 0; at = this.text.indexOf(marker, at + 1))
      if (fits(at)) return at;
    this.missing.set(marker, from);
    return -1;
  }
}

/**
 * @param {string} text
 * @param {number} from
 * @returns {number} where the bracket that is open before `from` closes, -1 if it does not soon
 */
function closing(text, from) {
  let open = 1;
  const until = Math.min(text.length, from + LONGEST_LABEL);
  for (let at = from; at < until; at++) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === "[") open += 1;
    else if (text[at] === "]" && --open === 0) return at;
  }
  return -1;
}

/**
 * @param {string} text
 * @returns {string} escapes and entities resolved, as a browser would before it follows an address
 */
function unescaped(text) {
  return text
    .replace(/\\([!-/:-@[-`{-~])/g, "$1")
    .replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-z]{2,8}));/g, (whole, a, b, c) => decoded(a, b, c) ?? whole);
}

/**
 * @param {string | undefined} decimal
 * @param {string | undefined} hexadecimal
 * @param {string | undefined} name
 * @returns {string | undefined}
 */
function decoded(decimal, hexadecimal, name) {
  if (name) return Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : undefined;
  const number = decimal ? Number.parseInt(decimal, 10) : Number.parseInt(hexadecimal ?? "0", 16);
  const isText = number > 0 && number <= 0x10ffff && (number < 0xd800 || number > 0xdfff);
  return isText ? String.fromCodePoint(number) : undefined;
}
