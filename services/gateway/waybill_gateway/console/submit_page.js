/** The form of a new task: a goal with documents, a plan, or a template with its parameters. */

import { get, send } from "./api.js";
import { documentField } from "./document_field.js";
import { el, fill } from "./element.js";
import { idOf } from "./format.js";
import { parse, pretty } from "./json.js";
import { actionButton, problemBox, say } from "./notice.js";
import { misfit, Problem } from "./problem.js";
import { hashOf, here } from "./router.js";
import { schemaForm } from "./schema_form.js";
import { routeExists } from "./served.js";
import { SubmitOptions } from "./submit_options.js";
import { TabList } from "./tabs.js";
import { visible } from "./text.js";

const KINDS = { goal: "Goal", plan: "Plan", template: "Template" };
const EXAMPLE = {
  steps: [
    { name: "find", agent: "retriever", input: { question: "${task.input.question}" } },
    { name: "judge", agent: "analyst", input: { question: "${task.input.question}", passages: "${find.passages}" } },
  ],
};

/** Makes one submission. */
export class SubmitPage {
  constructor() {
    this._kind = "goal";
    this._tabs = new TabList("What to submit", KINDS, (kind) => this._choose(kind));
    this._panel = el("div.stack", this._tabs.panelAttributes());
    this._problems = el("div");
    this._goal = area("What do you want to know, or have done?", 4, "goal");
    this._documents = documentField();
    this._plan = area("Plan, as JSON", 14, "plan", pretty(EXAMPLE));
    this._input = area("Input of the task, as JSON (optional)", 3, "input", '{"question": "What is a tide?"}');
    this._planDocuments = documentField();
    /** @type {import("./schema_form.js").Field | null} */
    this._parameters = null;
    this._template = /** @type {HTMLSelectElement} */ (el("select", { id: "submit-template" }));
    this._templateForm = el("div.stack");
    this._options = new SubmitOptions();
    const submit = actionButton("button.primary", ["Submit"], () => this._submit(), this._problems);
    this.element = el(
      "div.page.narrow",
      {},
      el("h1", { tabindex: "-1" }, "New task"),
      this._tabs.element,
      this._panel,
      this._options.element,
      this._problems,
      el("div.actions", {}, submit),
    );
    this._template.addEventListener("change", () => void this._describe());
  }

  async open() {
    document.title = "New task · Waybill";
    const query = here().query;
    this._choose(query.get("template") ? "template" : "goal");
  }

  close() {}

  routed() {}

  /** @param {string} kind */
  _choose(kind) {
    this._kind = kind;
    this._tabs.choose(kind);
    const shown = {
      goal: () => [this._goal.field, this._documents.element],
      plan: () => [this._plan.field, this._input.field, this._planDocuments.element],
      template: () => [
        el("div.field", {}, el("label", { for: "submit-template" }, "Template"), this._template),
        this._templateForm,
      ],
    };
    fill(this._panel, shown[/** @type {keyof typeof shown} */ (kind)]());
    if (kind === "template" && !this._template.options.length) void this._list();
  }

  async _list() {
    try {
      if (!(await routeExists("/v1/templates"))) throw new Problem(501, "ABSENT", "This server has no templates.");
      const { templates } = await get("v1/templates");
      fill(
        this._template,
        templates.map((/** @type {any} */ item) => el("option", { value: idOf(item.name) }, visible(idOf(item.name)))),
      );
      const wanted = here().query.get("template");
      if (wanted) this._template.value = wanted;
      if (templates.length) return void this._describe();
      fill(this._templateForm, el("p.hint", {}, "There are no templates yet."));
    } catch (problem) {
      fill(this._templateForm, problemBox(problem));
    }
  }

  async _describe() {
    try {
      const template = await get(`v1/templates/${encodeURIComponent(this._template.value)}`);
      this._parameters = schemaForm(template.parameters_schema ?? true, { label: "Parameters", initial: {} });
      fill(
        this._templateForm,
        template.description && el("p", {}, visible(template.description)),
        this._parameters.element,
      );
    } catch (problem) {
      fill(this._templateForm, problemBox(problem));
    }
  }

  async _submit() {
    const task = await send("v1/tasks", { ...(await this._what()), ...this._options.read() });
    say("The task was accepted");
    location.hash = hashOf(["tasks", idOf(task.name)]);
  }

  async _what() {
    if (this._kind === "goal") {
      const goal = this._goal.input.value.trim();
      if (!goal) throw misfit("goal", "is missing");
      return { goal, ...(await this._documents.read()) };
    }
    if (this._kind === "template")
      return { template: this._template.value, parameters: this._parameters ? this._parameters.read() : {} };
    const input = this._input.input.value.trim();
    const plan = decoded("plan", this._plan.input.value);
    return {
      plan: Array.isArray(plan) ? { steps: plan } : plan,
      ...(input ? { input: decoded("input", input) } : {}),
      ...(await this._planDocuments.read()),
    };
  }
}

/**
 * @param {string} name
 * @param {number} rows
 * @param {string} id
 * @param {string} [placeholder]
 */
function area(name, rows, id, placeholder) {
  const input = /** @type {HTMLTextAreaElement} */ (
    el(placeholder ? "textarea.code" : "textarea", {
      id: `submit-${id}`,
      rows,
      placeholder,
      spellcheck: placeholder ? "false" : "true",
    })
  );
  return { input, field: el("div.field", {}, el("label", { for: input.id }, name), input) };
}

/**
 * @param {string} field
 * @param {string} text
 * @returns {any} Raises `Problem` for text that is no JSON.
 */
function decoded(field, text) {
  if (!text.trim()) throw misfit(field, "is missing");
  try {
    return parse(text);
  } catch (error) {
    throw misfit(field, `is no JSON: ${error instanceof Error ? error.message : error}`);
  }
}
