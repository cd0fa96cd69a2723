/** What the tenant spends: its budget, what it used by day, agent and model, and the limits on what runs at once. */

import { get, send } from "./api.js";
import { el, fill } from "./element.js";
import { count, money } from "./format.js";
import { actionButton, nothing, problemBox, say } from "./notice.js";
import { misfit } from "./problem.js";
import { visible } from "./text.js";

const DAYS_SHOWN = 7;
const DAY_MS = 86_400_000;
const MICROS = 1e6;

/** Reads once, and again after a change. */
export class UsagePage {
  constructor() {
    this._budget = el("section.card", { "aria-label": "Budget" });
    this._usage = el("section.stack", { "aria-label": "Usage" });
    this._limits = el("section.stack", { "aria-label": "Limits" });
    const title = el("header.title-row", {}, el("h1", { tabindex: "-1" }, "Usage"));
    this.element = el("div.page", {}, title, this._budget, this._usage, this._limits);
  }

  async open() {
    document.title = "Usage · Waybill";
    await this._load();
  }

  close() {}

  routed() {}

  async _load() {
    const from = new Date(Date.now() - (DAYS_SHOWN - 1) * DAY_MS).toISOString().slice(0, 10);
    await Promise.all([
      part(this._budget, get("v1/tenant/budget"), (budget) => this._budgetForm(budget)),
      part(this._usage, get("v1/usage", { from_day: from }), usageTable),
      part(this._limits, get("v1/limits"), limitTable),
    ]);
  }

  /** @param {any} budget */
  _budgetForm(budget) {
    const problems = el("div");
    const total = amount("Most in all, in US dollars", budget.max_total_microusd);
    const day = amount("Most on a day, in US dollars", budget.max_day_microusd);
    const set = async () => {
      await send("v1/tenant/budget:set", { max_total_microusd: total.read(), max_day_microusd: day.read() });
      say("The budget is set");
      await this._load();
    };
    const facts = [
      ["Spent today", money(budget.spent_day_microusd)],
      ["Spent in all", money(budget.spent_total_microusd)],
      ["Reserved", money(budget.reserved_microusd)],
    ];
    return [
      el("h2", {}, "Budget of the tenant"),
      el(
        "dl.facts",
        {},
        facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
      ),
      el("div.actions.bottom", {}, total.field, day.field, actionButton("button", ["Set the budget"], set, problems)),
      problems,
    ];
  }
}

/**
 * @param {HTMLElement} place
 * @param {Promise<any>} answer
 * @param {(answer: any) => import("./element.js").Child} make
 */
async function part(place, answer, make) {
  try {
    fill(place, make(await answer));
  } catch (problem) {
    fill(place, problemBox(problem));
  }
}

/**
 * @param {string} name
 * @param {number} microusd 0 for no limit
 */
function amount(name, microusd) {
  const id = `usage-${name.split(" ").at(2)}`;
  const value = microusd ? String(microusd / MICROS) : "";
  const input = /** @type {HTMLInputElement} */ (
    el("input", { id, value, placeholder: "no limit", inputmode: "decimal" })
  );
  const read = () => {
    const told = Math.round(Number(input.value || 0) * MICROS);
    if (!(told >= 0)) throw misfit(name, "must be a number, or nothing for no limit");
    return told;
  };
  return { field: el("div.field", {}, el("label", { for: id }, name), input), read };
}

/** @param {any} usage */
function usageTable({ rows, total }) {
  const title = el("h2", {}, `The last ${DAYS_SHOWN} days`);
  if (!rows.length)
    return [title, nothing("Nothing was used", "Money and tokens of agents and model calls are listed here.")];
  const numbers = (/** @type {any} */ used) => [
    el("td.number", {}, count(used.input_tokens)),
    el("td.number", {}, count(used.output_tokens)),
    el("td.number", {}, money(used.cost_microusd)),
  ];
  const body = rows.map((/** @type {any} */ row) =>
    el(
      "tr",
      {},
      [row.day, row.agent || "planning", row.model].map((text) => el("td", {}, visible(text ?? ""))),
      el("td.number", {}, count(row.calls)),
      numbers(row.usage),
    ),
  );
  const foot = el("tr", {}, el("th", { scope: "row", colspan: 4 }, "Total"), numbers(total));
  return [title, grid("Usage", ["Day", "Agent", "Model", "Calls", "Tokens in", "Tokens out", "Cost"], 3, body, foot)];
}

/** @param {any} answer */
function limitTable({ limits }) {
  const title = el("h2", {}, "Limits of all tenants");
  if (!limits.length) return [title, el("p.hint", {}, "None is set, and none was learned.")];
  const shown = (/** @type {number} */ own, /** @type {number} */ learned) =>
    own ? count(own) : learned ? `${count(learned)} learned` : "";
  const body = limits.map((/** @type {any} */ limit) =>
    el(
      "tr",
      {},
      el("td", {}, el("code", {}, visible(limit.name.replace("limits/", "")))),
      [
        shown(limit.max_concurrency, limit.learned_concurrency),
        shown(limit.requests_per_minute, limit.learned_requests_per_minute),
        shown(limit.tokens_per_minute, limit.learned_tokens_per_minute),
        count(limit.held),
        count(limit.waiting),
      ].map((text) => el("td.number", {}, text)),
    ),
  );
  return [
    title,
    grid("Limits", ["Limit", "At once", "Starts a minute", "Tokens a minute", "Held", "Waiting"], 1, body),
  ];
}

/**
 * @param {string} label
 * @param {string[]} heads
 * @param {number} firstNumber from which column on there are numbers
 * @param {HTMLElement[]} body
 * @param {HTMLElement} [foot]
 */
function grid(label, heads, firstNumber, body, foot) {
  const cells = heads.map((name, at) => el(at < firstNumber ? "th" : "th.number", { scope: "col" }, name));
  return el(
    "div.scroll",
    { tabindex: "0", role: "group", "aria-label": label },
    el("table.rows", {}, el("thead", {}, el("tr", {}, cells)), el("tbody", {}, body), foot && el("tfoot", {}, foot)),
  );
}
