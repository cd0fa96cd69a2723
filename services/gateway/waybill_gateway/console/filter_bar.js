/** The filters of the list of tasks. They live in the address, so that a filtered list can be linked. */

import { el } from "./element.js";
import { TASK_STATES, wordOf } from "./states.js";

// A comma may also stand in the value of a label.
const BETWEEN_LABELS = /,(?=\s*[A-Za-z0-9][A-Za-z0-9._/-]*=)/;
const PERIODS = {
  "": "any time",
  3600: "last hour",
  86400: "last 24 hours",
  604800: "last 7 days",
  2592000: "last 30 days",
};

/**
 * The query of the API that the query of the page stands for.
 * @param {URLSearchParams} query
 * @returns {Record<string, string | string[]>}
 */
export function apiFilter(query) {
  const seconds = Number(query.get("within"));
  const since = seconds > 0 ? new Date(Date.now() - seconds * 1000).toISOString() : "";
  return {
    state: query.getAll("state").join(","),
    label: query.getAll("label"),
    agent: query.get("agent") ?? "",
    template: query.get("template") ?? "",
    created_from: query.get("from") || since,
    created_until: query.get("until") ?? "",
  };
}

/**
 * @param {URLSearchParams} query
 * @returns {boolean} whether it leaves any tasks out
 */
export function isFiltered(query) {
  return Object.values(apiFilter(query)).some((value) => value.length > 0);
}

/** The form of the filters. */
export class FilterBar {
  /** @param {(query: URLSearchParams) => void} changed */
  constructor(changed) {
    this._changed = changed;
    this._states = new Map(TASK_STATES.map((state) => [state, this._chip(state)]));
    this._label = this._input("Label", "key=value, …", "label");
    this._agent = this._input("Agent", "any", "agent");
    this._template = this._input("Template", "any", "template");
    this._period = /** @type {HTMLSelectElement} */ (
      el(
        "select",
        { id: "filter-within" },
        Object.entries(PERIODS).map(([seconds, name]) => el("option", { value: seconds }, name)),
      )
    );
    this._from = this._time("From", "from");
    this._until = this._time("Until", "until");
    this._clear = el("a.button.quiet.small", { href: "#/tasks" }, "Clear filters");
    this._more = /** @type {HTMLDetailsElement} */ (
      el(
        "details.more-filters",
        {},
        el("summary", {}, "More filters"),
        el(
          "div.filter-fields",
          {},
          this._label.field,
          this._agent.field,
          this._template.field,
          el("div.field", {}, el("label", { for: "filter-within" }, "Created"), this._period),
          this._from.field,
          this._until.field,
          el("div.field.bottom", {}, el("button", { type: "submit" }, "Filter")),
        ),
      )
    );
    this.element = el(
      "form.filters",
      {
        role: "search",
        "aria-label": "Filter tasks",
        submit: (event) => {
          event.preventDefault();
          this._tell();
        },
      },
      el("div.chips", { role: "group", "aria-label": "States" }, [...this._states.values()], this._clear),
      this._more,
    );
    this._period.addEventListener("change", () => {
      this._from.input.value = this._until.input.value = "";
      this._tell();
    });
  }

  /** @param {URLSearchParams} query */
  show(query) {
    for (const [state, chip] of this._states)
      chip.setAttribute("aria-pressed", String(query.getAll("state").includes(state)));
    this._label.input.value = query.getAll("label").join(", ");
    this._agent.input.value = query.get("agent") ?? "";
    this._template.input.value = query.get("template") ?? "";
    this._period.value = query.get("within") ?? "";
    this._from.input.value = localTime(query.get("from"));
    this._until.input.value = localTime(query.get("until"));
    this._clear.hidden = !isFiltered(query);
    if (["label", "agent", "template", "within", "from", "until"].some((name) => query.get(name)))
      this._more.open = true;
  }

  _tell() {
    const query = new URLSearchParams();
    for (const [state, chip] of this._states)
      if (chip.getAttribute("aria-pressed") === "true") query.append("state", state);
    for (const label of this._label.input.value.split(BETWEEN_LABELS))
      if (label.trim()) query.append("label", label.trim());
    const [from, until] = [this._from, this._until].map(({ input }) =>
      input.value ? new Date(input.value).toISOString() : "",
    );
    const rest = {
      agent: this._agent.input.value.trim(),
      template: this._template.input.value.trim(),
      from,
      until,
      within: from || until ? "" : this._period.value,
    };
    for (const [name, value] of Object.entries(rest)) if (value) query.set(name, value);
    this._changed(query);
  }

  /** @param {string} state */
  _chip(state) {
    const chip = el("button.chip", { type: "button", "aria-pressed": "false", "data-state": state }, wordOf(state));
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      this._tell();
    });
    return chip;
  }

  /**
   * @param {string} name
   * @param {string} placeholder
   * @param {string} id
   */
  _input(name, placeholder, id) {
    const input = /** @type {HTMLInputElement} */ (
      el("input", { id: `filter-${id}`, placeholder, autocomplete: "off", spellcheck: "false" })
    );
    return { input, field: el("div.field", {}, el("label", { for: input.id }, name), input) };
  }

  /**
   * @param {string} name
   * @param {string} id
   */
  _time(name, id) {
    const input = /** @type {HTMLInputElement} */ (
      el("input", { id: `filter-${id}`, type: "datetime-local", step: 1 })
    );
    return { input, field: el("div.field", {}, el("label", { for: input.id }, name), input) };
  }
}

/**
 * @param {string | null} time RFC 3339
 * @returns {string} as the field for a time wants it
 */
function localTime(time) {
  const parsed = new Date(time ?? "");
  if (Number.isNaN(parsed.getTime())) return "";
  return new Date(parsed.getTime() - parsed.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
