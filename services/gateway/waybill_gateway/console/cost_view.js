/** What a task used, by step, agent and model. */

import { get } from "./api.js";
import { el, fill } from "./element.js";
import { count, money } from "./format.js";
import { nothing, problemBox } from "./notice.js";
import { visible } from "./text.js";

/** Read again whenever the cost has changed while it is looked at. */
export class CostView {
  /** @param {import("./task_source.js").TaskSource} source */
  constructor(source) {
    this._source = source;
    this._seen = "";
    this.element = el("div.stack");
  }

  /** Show what is known now. */
  async update() {
    const { fold, state } = this._source;
    const seen = `${state} ${fold.cost} ${fold.tokens}`;
    if (this._seen === seen) return;
    this._seen = seen;
    try {
      const usage = await get("v1/usage", { task: `tasks/${this._source.path.split("/").at(-1)}` });
      if (this._seen === seen)
        fill(
          this.element,
          usage.rows.length
            ? usageTable(usage)
            : nothing("Nothing was used yet", "Money and tokens of model calls and agents are listed here.", "stack"),
        );
    } catch (problem) {
      fill(this.element, problemBox(problem));
    }
  }
}

/** @param {any} usage */
function usageTable({ rows, total }) {
  const heads = ["Step", "Agent", "Model", "Calls", "Tokens in", "Tokens out", "Cost"];
  const numbers = (/** @type {any} */ used) =>
    [used.input_tokens, used.output_tokens].map((number) => el("td.number", {}, count(number)));
  const body = rows.map((/** @type {any} */ row) =>
    el(
      "tr",
      {},
      el("td", {}, visible(row.step ?? "planning")),
      el("td", {}, visible(row.agent)),
      el("td", {}, visible(row.model)),
      el("td.number", {}, count(row.calls)),
      numbers(row.usage),
      el("td.number", {}, money(row.usage.cost_microusd)),
    ),
  );
  const foot = el(
    "tr",
    {},
    el("th", { scope: "row", colspan: 4 }, "Total"),
    numbers(total),
    el("td.number", {}, money(total.cost_microusd)),
  );
  return el(
    "div.scroll",
    { tabindex: "0", role: "group", "aria-label": "Costs" },
    el(
      "table.rows",
      {},
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          heads.map((name, at) => el(at > 2 ? "th.number" : "th", { scope: "col" }, name)),
        ),
      ),
      el("tbody", {}, body),
      el("tfoot", {}, foot),
    ),
  );
}
