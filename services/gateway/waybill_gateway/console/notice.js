/** Notices: what went wrong, where it went wrong, and short words about what went well. */

import { el, fill } from "./element.js";
import { icon } from "./icon.js";
import { MISFIT, Problem } from "./problem.js";
import { visible } from "./text.js";

const SHOWN_MS = 5_000;

/**
 * @param {unknown} error
 * @returns {HTMLElement} what a problem says, with its reason and its fields
 */
export function problemBox(error) {
  const problem = error instanceof Problem ? error : new Problem(0, "CONSOLE_ERROR", String(error));
  const fields = problem.violations.map(({ field, description }) =>
    el("li", {}, el("code", {}, visible(field)), " ", visible(description)),
  );
  return el(
    "div.problem",
    { role: "alert" },
    icon("failed"),
    el(
      "div",
      {},
      el("p", {}, visible(problem.message), " ", reason(problem)),
      fields.length > 0 && el("ul", {}, fields),
    ),
  );
}

/**
 * Shows a problem that may come again and again, and says it once to those who listen.
 * @param {HTMLElement} place
 * @param {unknown} error
 */
export function showProblem(place, error) {
  const box = problemBox(error);
  if (place.textContent !== box.textContent) fill(place, box);
}

/**
 * @param {Problem} problem
 * @returns {HTMLElement} its reason, which leads to what helps if the gateway told it
 */
function reason(problem) {
  const name = el("code.reason", {}, visible(problem.reason));
  const isKnown = problem.status > 0 && problem.reason !== MISFIT && /^[A-Z_]+$/.test(problem.reason);
  return isKnown ? el("a.plain-link", { href: `docs/problems#${problem.reason}`, title: "What helps" }, name) : name;
}

/**
 * @param {string} title
 * @param {import("./element.js").Child} [hint]
 * @param {string} [picture]
 * @returns {HTMLElement} what stands where nothing is
 */
export function nothing(title, hint, picture = "stack") {
  return el("div.nothing", {}, icon(picture), el("p.strong", {}, title), hint && el("p.hint", {}, hint));
}

/**
 * Says something for a moment, to those who listen too.
 * @param {string} text
 */
export function say(text) {
  const place = /** @type {HTMLElement} */ (document.getElementById("notices"));
  const notice = el("div.notice", {}, icon("succeeded"), el("span", {}, visible(text)));
  place.append(notice);
  setTimeout(() => notice.remove(), SHOWN_MS);
}

/**
 * A button that does something that takes a moment: it cannot be pressed twice, and a problem is shown beside it.
 * @param {string} name "button" with classes
 * @param {import("./element.js").Child[]} content
 * @param {() => Promise<void>} act
 * @param {HTMLElement} problems where to show what went wrong
 * @param {import("./element.js").Attributes} [attributes]
 * @returns {HTMLButtonElement}
 */
export function actionButton(name, content, act, problems, attributes = {}) {
  const button = /** @type {HTMLButtonElement} */ (el(name, { type: "button", ...attributes }, content));
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    fill(problems);
    try {
      await act();
    } catch (error) {
      fill(problems, problemBox(error));
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
  return button;
}
