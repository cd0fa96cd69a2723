/** Keys that work everywhere, and the help that lists them. */

import { openDialog } from "./dialog.js";
import { el } from "./element.js";

const HELP = [
  ["?", "this help"],
  ["g then t", "the list of tasks"],
  ["g then n", "a new task"],
  ["g then d", "dead letters"],
  ["g then a", "agents"],
  ["g then s, p, u", "schedules, plan templates, usage"],
  ["/", "filters of the list"],
  ["Arrow keys", "from task to task, from tab to tab, along the graph"],
  ["Enter", "open what has the focus"],
  ["+ − 0", "zoom the graph, show all of it"],
  ["Esc", "close a panel or a dialog"],
];
/** @type {Record<string, string>} */
const PLACES = {
  t: "#/tasks",
  n: "#/submit",
  d: "#/letters",
  a: "#/agents",
  s: "#/schedules",
  p: "#/templates",
  u: "#/usage",
};
const CHORD_MS = 1_500;

let goingUntil = 0;

/** Show what the keys do. */
export function showHelp() {
  if (document.querySelector("dialog[open]")) return;
  openDialog("Keys", [
    el(
      "dl.keys",
      {},
      HELP.map(([key, meaning]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, meaning))),
    ),
  ]);
}

/** Listen. */
export function listenForShortcuts() {
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (target.closest("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
    if (event.timeStamp < goingUntil && event.key in PLACES) {
      goingUntil = 0;
      location.hash = PLACES[event.key];
    } else if (event.key === "g") goingUntil = event.timeStamp + CHORD_MS;
    else if (event.key === "?") showHelp();
    else if (event.key === "/") focusFilters(event);
  });
}

/** @param {Event} event */
function focusFilters(event) {
  const summary = /** @type {HTMLElement | null} */ (document.querySelector(".filters summary"));
  if (!summary) return;
  event.preventDefault();
  const details = /** @type {HTMLDetailsElement} */ (summary.parentElement);
  details.open = true;
  /** @type {HTMLElement | null} */ (details.querySelector("input"))?.focus();
}
