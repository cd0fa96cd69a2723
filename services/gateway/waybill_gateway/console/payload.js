/** Payloads: what went into a step or came out, as readable JSON or as text. Always as text of the page. */

import { el } from "./element.js";
import { pretty } from "./json.js";
import { visible } from "./text.js";

const MOST_CHARACTERS = 100_000;

/**
 * @param {any} value
 * @returns {HTMLElement}
 */
export function payload(value) {
  const text = typeof value === "string" ? value : pretty(value);
  const shown = text.length > MOST_CHARACTERS ? text.slice(0, MOST_CHARACTERS) : text;
  const look = typeof value === "string" ? "pre.payload.words" : "pre.payload";
  return el(
    "div.stack",
    {},
    el(look, { tabindex: "0" }, visible(shown)),
    shown.length < text.length && el("p.hint", {}, "There is more; the API has all of it."),
  );
}
