/** What every submission may carry besides what is to be done. */

import { el } from "./element.js";
import { misfit } from "./problem.js";

/** The fields of the options. */
export class SubmitOptions {
  constructor() {
    this._priority = /** @type {HTMLSelectElement} */ (
      el(
        "select",
        { id: "submit-priority" },
        ["normal", "high", "low"].map((name) => el("option", {}, name)),
      )
    );
    this._labels = line("Labels", "team=ocean, kind=daily", "labels");
    this._budget = line("Budget in US dollars", "no limit", "budget");
    this._deadline = line("Deadline in minutes", "none", "deadline");
    this._start = line("Begins at", "", "start");
    this._start.input.type = "datetime-local";
    this.element = el(
      "details.more-filters",
      {},
      el("summary", {}, "Options"),
      el(
        "div.filter-fields",
        {},
        el("div.field", {}, el("label", { for: "submit-priority" }, "Priority"), this._priority),
        this._labels.field,
        this._budget.field,
        this._deadline.field,
        this._start.field,
      ),
    );
  }

  /** @returns {Record<string, any>} fields of the submission. Raises `Problem`. */
  read() {
    const budget = number("budget", this._budget.input.value, 1e6);
    const deadline = number("deadline", this._deadline.input.value, 60_000);
    const start = this._start.input.value;
    const labels = this._labels.input.value
      .split(",")
      .map((label) => label.trim())
      .filter(Boolean)
      .map((label) => {
        if (!label.includes("=")) throw misfit("labels", `"${label}" is not of the form key=value`);
        return [label.slice(0, label.indexOf("=")), label.slice(label.indexOf("=") + 1)];
      });
    return {
      priority: this._priority.value,
      labels: Object.fromEntries(labels),
      ...(budget ? { budget: { max_cost_microusd: budget } } : {}),
      ...(deadline ? { deadline_ms: deadline } : {}),
      ...(start ? { start_time: new Date(start).toISOString() } : {}),
    };
  }
}

/**
 * @param {string} field
 * @param {string} text
 * @param {number} factor
 * @returns {number} 0 for none. Raises `Problem`.
 */
function number(field, text, factor) {
  if (!text.trim()) return 0;
  const value = Math.round(Number(text) * factor);
  if (!(value > 0)) throw misfit(field, "must be a number over 0");
  return value;
}

/**
 * @param {string} name
 * @param {string} placeholder
 * @param {string} id
 */
function line(name, placeholder, id) {
  const input = /** @type {HTMLInputElement} */ (el("input", { id: `submit-${id}`, placeholder, autocomplete: "off" }));
  return { input, field: el("div.field", {}, el("label", { for: input.id }, name), input) };
}
