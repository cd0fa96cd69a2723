/** The steps of a task as a table, for those who read rather than look. */

import { el, fill } from "./element.js";
import { count, duration, money } from "./format.js";
import { badge, STEP_STATES, wordOf } from "./states.js";
import { visible } from "./text.js";

const MOST_ROWS = 500;

/** Keeps one row a step, and changes those that changed. */
export class StepTable {
  /** @param {(name: string) => void} pick */
  constructor(pick) {
    this._pick = pick;
    /** @type {Map<string, {row: HTMLElement, seen: string}>} */
    this._rows = new Map();
    /** @type {Set<string> | null} the only ones that are shown */
    this._only = null;
    this._state = /** @type {HTMLSelectElement} */ (
      el(
        "select",
        { "aria-label": "Steps in this state" },
        el("option", { value: "" }, "all states"),
        STEP_STATES.map((state) => el("option", { value: state }, wordOf(state))),
      )
    );
    this._state.addEventListener("change", () => this.update(this._steps, this._chosen));
    this._all = el(
      "button.quiet.small",
      { type: "button", hidden: true, click: () => this.limit(null) },
      "Show all steps",
    );
    this._body = el("tbody");
    this._hint = el("p.hint");
    const heads = ["Step", "Agent", "State", "Tries", "Ran", "Cost"].map((name, at) =>
      el(at > 2 ? "th.number" : "th", { scope: "col" }, name),
    );
    this.element = el(
      "div.stack",
      {},
      el("div.toolbar", {}, this._state, this._all),
      el(
        "div.scroll",
        { tabindex: "0", role: "group", "aria-label": "Steps" },
        el("table.rows", {}, el("thead", {}, el("tr", {}, heads)), this._body),
      ),
      this._hint,
    );
    /** @type {import("./task_source.js").StepView[]} */
    this._steps = [];
    this._chosen = "";
  }

  /** @param {string[] | null} names show no others */
  limit(names) {
    this._only = names && new Set(names);
    this._all.hidden = !names;
    this.update(this._steps, this._chosen);
  }

  /**
   * @param {import("./task_source.js").StepView[]} steps
   * @param {string} chosen
   */
  update(steps, chosen) {
    [this._steps, this._chosen] = [steps, chosen];
    const wanted = steps.filter(
      (step) => (!this._only || this._only.has(step.name)) && (!this._state.value || step.state === this._state.value),
    );
    const rows = wanted.slice(0, MOST_ROWS).map((step) => this._row(step, step.name === chosen));
    if (rows.length !== this._body.children.length || rows.some((row, at) => row !== this._body.children[at]))
      fill(this._body, rows);
    const hint =
      wanted.length > MOST_ROWS
        ? `The first ${count(MOST_ROWS)} of ${count(wanted.length)} steps.`
        : wanted.length
          ? ""
          : "No step is in this state.";
    if (this._hint.textContent !== hint) this._hint.textContent = hint;
  }

  /**
   * @param {import("./task_source.js").StepView} step
   * @param {boolean} isChosen
   */
  _row(step, isChosen) {
    const kept = this._rows.get(step.name);
    const seen = JSON.stringify([step.state, step.attempt, step.runMs, step.cost, isChosen]);
    if (kept?.seen === seen) return kept.row;
    const row =
      kept?.row ??
      el(
        "tr",
        {},
        el("td", {}, el("button.textual", { type: "button", click: () => this._pick(step.name) }, visible(step.name))),
      );
    row.classList.toggle("chosen", isChosen);
    while (row.children.length > 1) row.lastElementChild?.remove();
    row.append(
      el("td", {}, visible(step.agent || "asks a person")),
      el("td", {}, badge(step.state)),
      el("td.number", {}, count(step.attempt)),
      el("td.number", {}, step.runMs ? duration(step.runMs) : ""),
      el("td.number", {}, step.cost ? money(step.cost) : ""),
    );
    this._rows.set(step.name, { row, seen });
    return row;
  }
}
