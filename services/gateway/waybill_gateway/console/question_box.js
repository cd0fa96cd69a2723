/** A question that waits for a person, with a form for the answer. */

import { send } from "./api.js";
import { el } from "./element.js";
import { icon } from "./icon.js";
import { payload } from "./payload.js";
import { actionButton, say } from "./notice.js";
import { schemaForm } from "./schema_form.js";
import { visible } from "./text.js";

/**
 * @param {import("./task_source.js").TaskSource} source
 * @param {any} step as the API tells it, with its question
 * @returns {HTMLElement}
 */
export function questionBox(source, step) {
  const { question } = step;
  const form = schemaForm(question.answer_schema ?? true, { label: "Answer", initial: question.default_answer });
  const problems = el("div");
  const answer = async () => {
    await send(`${source.path}/steps/${encodeURIComponent(step.name)}:answer`, { answer: form.read() });
    say("The answer was given");
    await source.refresh();
  };
  const about =
    step.question_input === undefined
      ? null
      : el("details", { open: true }, el("summary", {}, "What it is about"), payload(step.question_input));
  return el(
    "section.question",
    { "aria-label": `Question of ${step.name}` },
    el(
      "div.question-head",
      {},
      icon("waiting"),
      el("h2", {}, visible(question.prompt)),
      el("code", {}, visible(step.name)),
    ),
    about,
    form.element,
    problems,
    el("div.actions", {}, actionButton("button.primary", ["Answer"], answer, problems)),
  );
}
