/** The effects that a step guards, so that none happens twice; what nobody knows the end of is decided here. */

import { send } from "./api.js";
import { confirmed } from "./dialog.js";
import { el } from "./element.js";
import { actionButton, say } from "./notice.js";
import { payload } from "./payload.js";
import { jsonField } from "./schema_form.js";
import { visible } from "./text.js";

/**
 * @param {import("./task_source.js").TaskSource} source
 * @param {string} path of the step
 * @param {any[]} effects of the step
 * @param {() => void} decided called after a decision
 * @returns {HTMLElement}
 */
export function effectList(source, path, effects, decided) {
  return el(
    "ul.plain",
    {},
    effects.map((effect) => effectItem(source, path, effect, decided)),
  );
}

/**
 * @param {import("./task_source.js").TaskSource} source
 * @param {string} path
 * @param {any} effect
 * @param {() => void} decided
 */
function effectItem(source, path, effect, decided) {
  const { key, state } = effect;
  const head = el("p", {}, el("code", {}, visible(key)), ` ${visible(state)}`);
  if (state !== "unknown") return el("li", {}, head, effect.result !== undefined && payload(effect.result));
  const [problems, result] = [el("div"), jsonField("What it returned", "result", undefined, false)];
  const resolve = async (/** @type {Record<string, any>} */ decision) => {
    await send(`${path}/effects:resolve`, { key, ...decision });
    say("The effect is decided; retry the task to go on");
    decided();
    await source.refresh();
  };
  const happened = async () => {
    const value = result.read();
    await resolve({ state: "done", ...(value === undefined ? {} : { result: value }) });
  };
  const failed = async () => {
    const text = "It may then be done again. Say so only if you know that it was not done.";
    if (await confirmed(`Did ${key} not happen?`, text, "It did not happen")) await resolve({ state: "failed" });
  };
  return el(
    "li.stack",
    {},
    head,
    el("p.hint", {}, "Nobody knows whether it happened. Look, and say so."),
    result.element,
    problems,
    el(
      "div.actions",
      {},
      actionButton("button", ["It happened"], happened, problems),
      actionButton("button.danger", ["It did not"], failed, problems),
    ),
  );
}
