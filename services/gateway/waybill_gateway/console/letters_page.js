/** Dead letters: steps that kept killing the process that ran them, for a person to look at. */

import { get, listAll, send } from "./api.js";
import { CardPage } from "./card_page.js";
import { confirmed } from "./dialog.js";
import { el, fill } from "./element.js";
import { ago, count, duration, idOf, moment } from "./format.js";
import { actionButton, nothing, problemBox, say } from "./notice.js";
import { payload } from "./payload.js";
import { hashOf } from "./router.js";
import { visible } from "./text.js";

const PAGE_SIZE = 100;
const MOST_PAGES = 5;

/** @returns {CardPage} */
export function lettersPage() {
  /** @type {CardPage} */
  const page = new CardPage({
    title: "Dead letters",
    read: () => listAll("v1/deadLetters", "dead_letters", PAGE_SIZE, MOST_PAGES),
    keyOf: (letter) => letter.name,
    card: (letter) => card(letter, () => page.load()),
    empty: () =>
      nothing(
        "No dead letters",
        "A step that kills its process again and again is put here, for you to look at.",
        "succeeded",
      ),
  });
  return page;
}

/**
 * @param {any} letter
 * @param {() => Promise<void>} reload
 */
function card(letter, reload) {
  const problems = el("div");
  const path = `v1/deadLetters/${encodeURIComponent(idOf(letter.name))}`;
  const [task, step] = partsOf(letter.step);
  const retry = async () => {
    await send(`${path}:retry`);
    say("The task runs again");
    await reload();
  };
  const drop = async () => {
    if (!(await confirmed("Drop this dead letter?", "It is gone for good. Its task stays as it is.", "Drop it")))
      return;
    await send(`${path}:drop`);
    say("The dead letter was dropped");
    await reload();
  };
  return [
    el(
      "div.card-head",
      {},
      el("h2", {}, el("a", { href: hashOf(["tasks", task], { step }) }, visible(step || letter.step))),
      el(
        "div.actions",
        {},
        actionButton("button", ["Retry"], retry, problems),
        actionButton("button.danger", ["Drop"], drop, problems),
      ),
    ),
    el(
      "p.hint",
      {},
      "Agent ",
      el("code", {}, visible(letter.agent)),
      `, ${count(letter.deaths)} deaths, `,
      el("span", { title: moment(letter.create_time ?? "") }, letter.create_time ? ago(letter.create_time) : ""),
    ),
    letter.failure &&
      el("p", {}, visible(letter.failure.message), " ", el("code.reason", {}, visible(letter.failure.reason))),
    problems,
    details(path),
  ];
}

/** @param {string} path */
function details(path) {
  const place = el("div.stack");
  const box = el("details", {}, el("summary", {}, "Input and attempts"), place);
  box.addEventListener("toggle", async () => {
    if (place.firstChild) return;
    try {
      const letter = await get(path);
      const attempts = (letter.attempts ?? []).map((/** @type {any} */ attempt) =>
        el(
          "li",
          {},
          `Attempt ${attempt.attempt}, ${duration(attempt.run_ms)}: `,
          visible(attempt.failure?.message ?? attempt.state),
        ),
      );
      fill(place, letter.input !== undefined && payload(letter.input), el("ul.plain", {}, attempts));
    } catch (problem) {
      fill(place, problemBox(problem));
    }
  });
  return box;
}

/**
 * @param {string} name such as "tasks/abc/steps/find"
 * @returns {[string, string]}
 */
function partsOf(name) {
  const parts = name.split("/");
  return [parts[1] ?? "", parts[3] ?? ""];
}
