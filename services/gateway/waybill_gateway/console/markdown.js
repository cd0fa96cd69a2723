/**
 * Markdown by agents, which nobody trusts: it becomes elements of a small, fixed set. HTML in it stays text, pictures
 * are not loaded, and links only lead to http, https and mailto.
 */

import { el } from "./element.js";
import { inline } from "./inline.js";
import { visible } from "./text.js";

const MOST_CHARACTERS = 250_000;
const MOST_DEPTH = 8;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const FENCE = /^( {0,3})(`{3,}|~{3,})([^`]*)$/;
const ITEM = /^( {0,3})([-+*]|\d{1,9}[.)])(?:([ \t]+)(.*))?$/;
const QUOTE = /^ {0,3}> ?/;
const TABLE_RULE = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/**
 * @param {string} text
 * @returns {HTMLElement}
 */
export function markdown(text) {
  const shown = text.slice(0, MOST_CHARACTERS);
  const article = el("div.prose", {}, blocks(shown.replace(/\r\n?/g, "\n").split("\n"), 0));
  if (shown.length < text.length)
    article.append(el("p.hint", {}, "The report is longer; download it to read the rest."));
  return article;
}

/**
 * @param {string[]} lines
 * @param {number} depth
 * @returns {HTMLElement[]}
 */
function blocks(lines, depth) {
  if (depth > MOST_DEPTH) return [el("p", {}, visible(lines.join("\n")))];
  const reader = { lines, at: 0, depth };
  const made = [];
  while (reader.at < lines.length) {
    const line = lines[reader.at];
    if (!line.trim()) reader.at += 1;
    else made.push(block(reader, line));
  }
  return made;
}

/**
 * @typedef {{lines: string[], at: number, depth: number}} Reader
 * @param {Reader} reader
 * @param {string} line
 * @returns {HTMLElement}
 */
function block(reader, line) {
  const heading = HEADING.exec(line);
  if (heading) {
    reader.at += 1;
    // The page has a first heading of its own; those of a report stand below it.
    const level = Math.min(6, heading[1].length + 1);
    return el(`h${level}`, { "data-level": heading[1].length }, inline(headingText(line.slice(heading[0].length))));
  }
  if (RULE.test(line)) {
    reader.at += 1;
    return el("hr");
  }
  const fence = FENCE.exec(line);
  if (fence) return fenced(reader, fence[1].length, fence[2]);
  if (QUOTE.test(line)) return quote(reader);
  if (ITEM.test(line)) return list(reader);
  if (line.includes("|") && isTableRule(reader.lines[reader.at + 1] ?? "")) return table(reader);
  if (/^(?: {4}|\t)/.test(line)) return indented(reader);
  return paragraph(reader);
}

/**
 * @param {string} text
 * @returns {string} without the marks that may close a heading
 */
function headingText(text) {
  const shown = text.trim();
  let end = shown.length;
  while (shown[end - 1] === "#") end -= 1;
  return end === 0 || " \t".includes(shown[end - 1]) ? shown.slice(0, end).trim() : shown;
}

/**
 * @param {Reader} reader
 * @param {number} indent
 * @param {string} marker
 */
function fenced(reader, indent, marker) {
  const code = [];
  const end = new RegExp(`^ {0,3}${marker[0] === "~" ? "~" : "`"}{${marker.length},}[ \\t]*$`);
  for (reader.at += 1; reader.at < reader.lines.length; reader.at++) {
    if (end.test(reader.lines[reader.at])) break;
    code.push(reader.lines[reader.at].replace(new RegExp(`^ {0,${indent}}`), ""));
  }
  reader.at += 1;
  return codeBlock(code);
}

/** @param {Reader} reader */
function indented(reader) {
  const code = [];
  while (reader.at < reader.lines.length && /^(?: {4}|\t|\s*$)/.test(reader.lines[reader.at]))
    code.push(reader.lines[reader.at++].replace(/^(?: {4}|\t)/, ""));
  while (code.length && !code[code.length - 1].trim()) code.pop();
  return codeBlock(code);
}

/** @param {string[]} lines */
function codeBlock(lines) {
  return el("pre", { tabindex: "0" }, el("code", {}, visible(lines.join("\n"))));
}

/** @param {Reader} reader */
function quote(reader) {
  const inside = [];
  while (reader.at < reader.lines.length && QUOTE.test(reader.lines[reader.at]))
    inside.push(reader.lines[reader.at++].replace(QUOTE, ""));
  return el("blockquote", {}, blocks(inside, reader.depth + 1));
}

/** @param {Reader} reader */
function list(reader) {
  const first = /** @type {RegExpExecArray} */ (ITEM.exec(reader.lines[reader.at]));
  const isOrdered = /\d/.test(first[2]);
  const kind = first[2].slice(-1);
  const items = [];
  let isTight = true;
  let hasGap = false;
  while (reader.at < reader.lines.length) {
    const found = ITEM.exec(reader.lines[reader.at]);
    if (!found || found[2].slice(-1) !== kind || RULE.test(reader.lines[reader.at])) break;
    isTight &&= !hasGap;
    const { lines, loose, gap } = itemLines(reader, found);
    hasGap = gap;
    isTight &&= !loose;
    items.push(lines);
  }
  const inside = (/** @type {string[]} */ lines) => blocks(lines, reader.depth + 1);
  const shown = items.map((lines) => el("li", {}, isTight ? tight(inside(lines)) : inside(lines)));
  return isOrdered ? el("ol", { start: Number.parseInt(first[2], 10) }, shown) : el("ul", {}, shown);
}

/**
 * The lines of one item, without its indent.
 * @param {Reader} reader
 * @param {RegExpExecArray} found
 * @returns {{lines: string[], loose: boolean, gap: boolean}} whether blank lines stand in it, and after it
 */
function itemLines(reader, found) {
  const space = found[3] && found[3].length <= 4 && found[4] ? found[3].length : 1;
  const indent = found[1].length + found[2].length + space;
  const lines = [`${(found[3] ?? "").slice(space)}${found[4] ?? ""}`];
  let blank = false;
  let loose = false;
  for (reader.at += 1; reader.at < reader.lines.length; reader.at++) {
    const line = reader.lines[reader.at];
    if (!line.trim()) {
      blank = true;
      lines.push("");
      continue;
    }
    const isInside = line.length - line.trimStart().length >= indent;
    if (!isInside && (blank || ITEM.test(line) || startsBlock(line))) break;
    loose ||= blank && isInside;
    blank = false;
    lines.push(isInside ? line.slice(indent) : line.trimStart());
  }
  return { lines, loose, gap: blank };
}

/**
 * @param {HTMLElement[]} made
 * @returns {Node[]} paragraphs without their element
 */
function tight(made) {
  return made.flatMap((element) => (element.localName === "p" ? [...element.childNodes] : [element]));
}

/** @param {string} line */
function isTableRule(line) {
  return line.length < 1000 && line.includes("|") && TABLE_RULE.test(line);
}

/** @param {Reader} reader */
function table(reader) {
  const heads = cells(reader.lines[reader.at]);
  const rows = [];
  for (reader.at += 2; reader.at < reader.lines.length; reader.at++) {
    const line = reader.lines[reader.at];
    if (!line.trim() || !line.includes("|")) break;
    const row = cells(line);
    rows.push(
      el(
        "tr",
        {},
        heads.map((_head, at) => el("td", {}, inline(row[at] ?? ""))),
      ),
    );
  }
  const head = el(
    "thead",
    {},
    el(
      "tr",
      {},
      heads.map((cell) => el("th", { scope: "col" }, inline(cell))),
    ),
  );
  return el(
    "div.scroll",
    { tabindex: "0", role: "group", "aria-label": "table" },
    el("table", {}, head, el("tbody", {}, rows)),
  );
}

/**
 * @param {string} line
 * @returns {string[]}
 */
function cells(line) {
  const inner = line
    .trim()
    .replace(/^\|/, "")
    .replace(/([^\\])\|$/, "$1");
  return inner
    .split(/(?<!\\)\|/)
    .slice(0, 40)
    .map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/** @param {Reader} reader */
function paragraph(reader) {
  const lines = [];
  while (reader.at < reader.lines.length) {
    const line = reader.lines[reader.at];
    if (!line.trim() || (lines.length && startsBlock(line))) break;
    lines.push(line.replace(/^[ \t]+/, ""));
    reader.at += 1;
  }
  return el("p", {}, inline(lines.join("\n").trimEnd()));
}

/**
 * @param {string} line
 * @returns {boolean} whether it ends a paragraph
 */
function startsBlock(line) {
  return (
    HEADING.test(line) ||
    RULE.test(line) ||
    FENCE.test(line) ||
    QUOTE.test(line) ||
    /^ {0,3}(?:[-+*]|1[.)])[ \t]+\S/.test(line)
  );
}
