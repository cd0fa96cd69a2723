/** What a task returned: a report as it is meant to be read, anything else as JSON. */

import { el, fill } from "./element.js";
import { idOf } from "./format.js";
import { pretty } from "./json.js";
import { markdown } from "./markdown.js";
import { nothing, say } from "./notice.js";
import { payload } from "./payload.js";
import { hasEnded } from "./states.js";
import { visible } from "./text.js";

/** Shows the output once it is there, and until then what the last steps stream. */
export class ReportView {
  /** @param {import("./task_source.js").TaskSource} source */
  constructor(source) {
    this._source = source;
    this._seen = "";
    this.element = el("div.stack.report");
  }

  /** Show what is known now. */
  update() {
    const { task, state } = this._source;
    if (!task) return;
    const { output } = task;
    if (output !== undefined) return this._show(`output ${JSON.stringify(output)}`, () => this._output(output));
    const draft = hasEnded(state) ? "" : this._draft();
    if (draft)
      return this._show(`draft ${draft}`, () => [
        el("p.hint", {}, "This is being written:"),
        el("pre.payload.words", { tabindex: "0" }, visible(draft)),
      ]);
    const hint =
      state === "succeeded"
        ? "The output is being read."
        : hasEnded(state)
          ? "The task did not succeed, so it returned nothing."
          : "It appears here at the end.";
    this._show(hint, () => nothing("Nothing to read yet", hint, "planning"));
  }

  /** @returns {string} what those steps stream that no other waits for */
  _draft() {
    const steps = this._source.steps;
    const needed = new Set(steps.flatMap((step) => step.depends_on));
    const last = steps.filter((step) => !needed.has(step.name) && step.live?.text.value && !step.live.text.isVoid);
    return last.map((step) => step.live?.text.value ?? "").join("\n\n");
  }

  /** @param {any} output */
  _output(output) {
    const report = typeof output?.report === "string" ? output.report : null;
    const text = report ?? (typeof output === "string" ? output : pretty(output));
    const ending = report !== null ? "md" : typeof output === "string" ? "txt" : "json";
    const name = `${idOf(this._source.task.name)}.${ending}`;
    const tools = el(
      "div.toolbar",
      {},
      el("button.small", { type: "button", click: () => download(name, text) }, "Download"),
      navigator.clipboard && el("button.small", { type: "button", click: () => copy(text) }, "Copy"),
    );
    if (report === null) return [tools, payload(output)];
    const all = el("details.part", {}, el("summary", {}, "The whole output as JSON"));
    all.addEventListener("toggle", () => all.children.length === 1 && all.append(payload(output)));
    return [tools, el("article", { "aria-label": "Report" }, markdown(report)), all];
  }

  /**
   * @param {string} seen
   * @param {() => import("./element.js").Child} make
   */
  _show(seen, make) {
    if (this._seen === seen) return;
    this._seen = seen;
    fill(this.element, make());
  }
}

/**
 * @param {string} name
 * @param {string} text
 */
function download(name, text) {
  const href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  el("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

/** @param {string} text */
async function copy(text) {
  await navigator.clipboard.writeText(text);
  say("Copied");
}
