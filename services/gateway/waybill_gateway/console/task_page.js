/** The page of one task: its head, what waits for a person, and views of it: graph, steps, report, events, costs. */

import { CostView } from "./cost_view.js";
import { el, fill } from "./element.js";
import { EventList } from "./event_list.js";
import { GraphView } from "./graph.js";
import { nothing, problemBox } from "./notice.js";
import { questionBox } from "./question_box.js";
import { ReportView } from "./report_view.js";
import { adjust, here } from "./router.js";
import { StepPanel } from "./step_panel.js";
import { StepTable } from "./step_table.js";
import { TabList } from "./tabs.js";
import { TaskHead } from "./task_head.js";
import { TaskSource } from "./task_source.js";

const TICK_MS = 1_000;
const VIEWS = { graph: "Graph", steps: "Steps", report: "Report", events: "Events", costs: "Costs" };

/** Follows a task from `open` to `close`. */
export class TaskPage {
  /** @param {string} id */
  constructor(id) {
    this._source = new TaskSource(id, () => this._update());
    this._head = new TaskHead(this._source);
    this._graph = new GraphView((members) => this._picked(members));
    this._table = new StepTable((name) => this._choose(name));
    this._events = new EventList();
    this._report = new ReportView(this._source);
    this._costs = new CostView(this._source);
    this._questions = el("div.stack");
    /** @type {Map<string, HTMLElement>} */
    this._asked = new Map();
    this._tabs = new TabList("Views of the task", VIEWS, (view) => this._look(view, true));
    this._view = el("div.view", this._tabs.panelAttributes());
    this._side = el("div.side");
    /** @type {StepPanel | null} */
    this._panel = null;
    this._current = "";
    this._body = el("div.task-body", {}, el("div.task-main", {}, this._tabs.element, this._view), this._side);
    this.element = el("div.page", {}, this._head.element, this._questions, this._body);
    this._timer = setInterval(() => this._tick(), TICK_MS);
  }

  /** Read and follow. */
  async open() {
    this.routed();
    await this._source.start();
  }

  /** Follow no more. */
  close() {
    clearInterval(this._timer);
    this._source.close();
    this._graph.close();
  }

  /** The address has changed. */
  routed() {
    const { query } = here();
    const view = query.get("view") ?? "";
    this._look(view in VIEWS ? view : "graph", false);
    this._choose(query.get("step") ?? "", false);
  }

  _update() {
    const { task, problem } = this._source;
    if (!task) {
      if (problem) fill(this.element, problemBox(problem), el("p", {}, el("a", { href: "#/tasks" }, "All tasks")));
      return;
    }
    this._head.update();
    this._ask();
    this._refresh();
    this._panel?.update();
  }

  _tick() {
    if (document.visibilityState !== "visible") return;
    this._head.tick();
    this._panel?.tick();
  }

  /** Show the view that is chosen as it is now. */
  _refresh() {
    const chosen = this._panel?.name ?? "";
    const steps = this._source.steps;
    switch (this._current) {
      case "graph":
        if (steps.length) this._graph.update(steps, chosen);
        if (!steps.length) fill(this._view, this._unplanned());
        // To put it in again would take the focus from its boxes.
        else if (!this._graph.element.isConnected) fill(this._view, this._graph.element);
        break;
      case "steps":
        return this._table.update(steps, chosen);
      case "report":
        return this._report.update();
      case "events":
        return this._events.update(this._source.fold);
      case "costs":
        return void this._costs.update();
    }
  }

  _unplanned() {
    const { state } = this._source;
    const hint = state === "scheduled" ? "The task has not begun." : "Its graph appears here as soon as it is planned.";
    return nothing("No plan yet", hint, state === "scheduled" ? "scheduled" : "planning");
  }

  /**
   * @param {string} view
   * @param {boolean} keep in the address
   */
  _look(view, keep) {
    if (keep) adjust({ view: view === "graph" ? "" : view });
    if (view === this._current) return;
    this._current = view;
    this._tabs.choose(view);
    const elements = {
      steps: this._table.element,
      report: this._report.element,
      events: this._events.element,
      costs: this._costs.element,
    };
    fill(this._view, view === "graph" ? null : elements[/** @type {keyof typeof elements} */ (view)]);
    if (this._source.task) this._refresh();
  }

  /** @param {string[]} members of a box of the graph */
  _picked(members) {
    if (members.length === 1) return this._choose(members[0]);
    this._look("steps", true);
    this._table.limit(members);
    this._tabs.focus();
  }

  /**
   * @param {string} name of a step, empty to close the panel
   * @param {boolean} [byHand]
   */
  _choose(name, byHand = true) {
    if (byHand) adjust({ step: name });
    const before = this._panel?.name ?? "";
    if (before === name) return this._panel?.title.focus();
    this._panel = name ? new StepPanel(this._source, name, () => this._choose("")) : null;
    this._source.watchedStep = name;
    this._body.classList.toggle("split", Boolean(name));
    fill(this._side, this._panel?.element);
    if (this._source.task) {
      this._panel?.update();
      this._refresh();
    }
    if (byHand && name) this._panel?.title.focus();
    else if (byHand && this._current === "graph") this._graph.focusOn(before);
  }

  /** Show a form for each question, and keep those that are being filled in. */
  _ask() {
    const waiting = this._source.steps.filter(
      ({ state, told }) => state === "waiting" && told.state === "waiting" && told.question,
    );
    const keys = waiting.map(({ told }) => `${told.name} ${told.attempt}`);
    if (keys.join("\n") === [...this._asked.keys()].join("\n")) return;
    const boxes = waiting.map(({ told }, at) => this._asked.get(keys[at]) ?? questionBox(this._source, told));
    this._asked = new Map(keys.map((key, at) => [key, boxes[at]]));
    for (const old of [...this._questions.children])
      if (!boxes.includes(/** @type {HTMLElement} */ (old))) old.remove();
    for (const box of boxes) if (!box.isConnected) this._questions.append(box);
  }
}
