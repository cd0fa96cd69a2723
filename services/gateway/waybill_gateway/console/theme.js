/** Light or dark: as the system has it, unless somebody chose. */

import { el, fill } from "./element.js";
import { icon } from "./icon.js";
import { remember, remembered } from "./stored.js";

const ORDER = ["", "light", "dark"];
/** @type {Record<string, string>} */
const NAMES = { "": "as the system", light: "light", dark: "dark" };
/** @type {Record<string, string>} */
const ICONS = { "": "auto", light: "sun", dark: "moon" };

/** @returns {HTMLElement} the button that goes through the choices */
export function themeSwitch() {
  const button = el("button.quiet.square", { type: "button", click: turn });
  show(button, remembered("theme"));
  return button;
}

/** @param {Event} event */
function turn(event) {
  const next = ORDER[(ORDER.indexOf(remembered("theme")) + 1) % ORDER.length];
  remember("theme", next);
  if (next) document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
  show(/** @type {HTMLElement} */ (event.currentTarget), next);
}

/**
 * @param {HTMLElement} button
 * @param {string} chosen
 */
function show(button, chosen) {
  const name = NAMES[chosen] ?? NAMES[""];
  button.setAttribute("aria-label", `Colours: ${name}. Change`);
  button.title = `Colours: ${name}`;
  fill(button, icon(ICONS[chosen] ?? "auto"));
}
