/** The head of a task's page: what it is, how far it is, and the buttons that steer it. */

import { send } from "./api.js";
import { confirmed } from "./dialog.js";
import { el, fill } from "./element.js";
import { ago, count, duration, idOf, moment, money } from "./format.js";
import { icon } from "./icon.js";
import { actionButton, problemBox, say } from "./notice.js";
import { badge, hasEnded } from "./states.js";
import { shortened, visible } from "./text.js";

const LONGEST_TITLE = 240;
const LINKS = {
  connecting: "connecting…",
  live: "live",
  broken: "connection lost, trying again…",
  ended: "complete",
  refused: "not available",
};

/** Shows one task's head, and is kept up to date. */
export class TaskHead {
  /** @param {import("./task_source.js").TaskSource} source */
  constructor(source) {
    this._source = source;
    this._title = el("h1", { tabindex: "-1" });
    this._badge = el("span");
    this._link = el("span.link-state", { role: "status" });
    this._buttons = el("div.actions");
    this._problems = el("div");
    this._meter = el(
      "div.meter",
      { role: "progressbar", "aria-label": "Steps that have ended", "aria-valuemin": "0" },
      el("div.meter-done"),
    );
    this._facts = el("dl.facts");
    this._notes = el("div.stack");
    this._labels = el("div.labels");
    this._seen = "";
    this.element = el(
      "header.task-head",
      {},
      el(
        "p.crumb",
        {},
        el("a", { href: "#/tasks" }, "Tasks"),
        " / ",
        el("code", {}, idOf(decodeURIComponent(source.path))),
      ),
      el("div.title-row", {}, this._title, this._buttons),
      el("div.state-row", {}, this._badge, this._link, this._labels),
      this._problems,
      this._meter,
      this._facts,
      this._notes,
    );
  }

  /** Show what is known now. */
  update() {
    const { task, fold, state, link } = this._source;
    if (!task) return;
    const title = titleOf(task);
    if (this._title.textContent !== title) this._title.textContent = title;
    document.title = `${shortened(title, 60)} · Waybill`;
    this._link.dataset.link = link;
    if (this._link.textContent !== LINKS[link]) this._link.textContent = LINKS[link];
    if (this._seen !== `${state} ${this._seenLabels(task)}`) {
      this._seen = `${state} ${this._seenLabels(task)}`;
      fill(this._badge, badge(state));
      fill(
        this._labels,
        labelsOf(task).map(([key, value]) => labelLink(key, value)),
      );
      this._steerable(state);
    }
    const total = fold.stepCount || task.step_count;
    const ended = Math.min(total, Math.max(fold.endedCount, hasEnded(state) ? task.ended_step_count : 0));
    this._meter.hidden = total === 0;
    this._meter.setAttribute("aria-valuemax", String(total));
    this._meter.setAttribute("aria-valuenow", String(ended));
    this._meter.dataset.state = state;
    /** @type {HTMLElement} */ (this._meter.firstElementChild).style.width = `${total ? (100 * ended) / total : 0}%`;
    this.tick();
    this._note(task, fold, state);
  }

  /** What changes with time alone. */
  tick() {
    const { task, fold, state } = this._source;
    if (!task) return;
    const total = fold.stepCount || task.step_count;
    const end = task.end_time && hasEnded(state) ? Date.parse(task.end_time) : Date.now();
    const retries = [...fold.steps.values()].reduce((sum, step) => sum + step.retries, 0);
    const cost = Math.max(fold.cost, task.usage.cost_microusd);
    const limit = task.budget ? ` of ${money(task.budget.max_cost_microusd)}` : "";
    const reserved = task.reserved_microusd ? `, ${money(task.reserved_microusd)} reserved` : "";
    const shown = [
      ["Steps", total ? `${count(Math.min(total, fold.endedCount))} of ${count(total)}` : "not planned yet"],
      ["Time", duration(end - Date.parse(task.create_time))],
      ["Cost", `${money(cost)}${limit}${reserved}`],
      ["Tokens", count(fold.tokens)],
      ["Retries", count(retries)],
      ["Plan", fold.revision || task.plan_revision ? `revision ${fold.revision || task.plan_revision}` : "none yet"],
      ["Priority", task.priority],
      ["Created", ago(task.create_time), moment(task.create_time)],
      task.start_time && state === "scheduled" && ["Starts", ago(task.start_time), moment(task.start_time)],
      task.deadline_time && !hasEnded(state) && ["Deadline", ago(task.deadline_time), moment(task.deadline_time)],
      task.template && ["Template", task.template],
    ].filter(Boolean);
    const seen = JSON.stringify(shown);
    if (this._facts.dataset.seen === seen) return;
    this._facts.dataset.seen = seen;
    fill(
      this._facts,
      shown.map(([name, value, title]) => el("div", {}, el("dt", {}, name), el("dd", { title }, visible(value)))),
    );
  }

  /** @param {any} task */
  _seenLabels(task) {
    return JSON.stringify(labelsOf(task));
  }

  /**
   * @param {any} task
   * @param {import("./fold.js").TaskFold} fold
   * @param {string} state
   */
  _note(task, fold, state) {
    const failure = state === "failed" || state === "cancelling" ? (fold.failure ?? task.failure) : null;
    // A question is shown with its form; to say it here too would only be noise.
    const isAsked = this._source.steps.some((step) => step.state === "waiting");
    const waiting = hasEnded(state) || isAsked ? "" : (task.waiting_reason ?? "");
    const message = hasEnded(state) ? "" : fold.message;
    const seen = JSON.stringify([failure, waiting, message]);
    if (this._notes.dataset.seen === seen) return;
    this._notes.dataset.seen = seen;
    fill(
      this._notes,
      failure &&
        el(
          "div.problem",
          {},
          icon("failed"),
          el("p", {}, visible(failure.message), " ", el("code.reason", {}, visible(failure.reason))),
        ),
      waiting && el("div.note", {}, icon("waiting"), el("p", {}, visible(waiting))),
      message && el("div.note", {}, icon("planning"), el("p", {}, visible(message))),
    );
  }

  /** @param {string} state */
  _steerable(state) {
    const hadFocus = this._buttons.contains(document.activeElement);
    const act = (/** @type {string} */ verb, /** @type {string} */ done) => async () => {
      await send(`${this._source.path}:${verb}`);
      say(done);
      await this._source.refresh();
    };
    const cancel = async () => {
      const text =
        "Steps that run are stopped, and no other starts. What has succeeded is kept, and the task can be retried.";
      if (await confirmed("Cancel this task?", text, "Cancel the task"))
        await act("cancel", "The task is being cancelled")();
    };
    const button = (
      /** @type {string} */ look,
      /** @type {string} */ label,
      /** @type {() => Promise<void>} */ doing,
    ) => actionButton(look, [label], doing, this._problems);
    fill(
      this._buttons,
      (state === "running" || state === "planning") && button("button", "Pause", act("pause", "The task is paused")),
      state === "paused" && button("button.primary", "Resume", act("resume", "The task goes on")),
      (state === "failed" || state === "cancelled") &&
        button("button.primary", "Retry", act("retry", "The task runs again")),
      !hasEnded(state) && state !== "cancelling" && button("button.danger", "Cancel", cancel),
    );
    if (hadFocus) this._title.focus({ preventScroll: true });
  }

  /** @param {unknown} problem */
  fail(problem) {
    fill(this._problems, problemBox(problem));
  }
}

/**
 * @param {any} task
 * @returns {string} what people call it
 */
export function titleOf(task) {
  const goal = task.goal?.trim().replace(/\s+/g, " ");
  if (goal) return visible(shortened(goal, LONGEST_TITLE));
  if (task.template) return visible(task.template);
  return task.step_count ? `Plan of ${count(task.step_count)} ${task.step_count === 1 ? "step" : "steps"}` : "Task";
}

/**
 * @param {any} task
 * @returns {[string, string][]} its labels by key, as the API tells them in any order
 */
export function labelsOf(task) {
  return Object.entries(task.labels).sort(([a], [b]) => (a < b ? -1 : 1));
}

/**
 * @param {string} key
 * @param {string} value
 * @returns {HTMLElement} which leads to all tasks of the label
 */
export function labelLink(key, value) {
  const href = `#/tasks?${new URLSearchParams({ label: `${key}=${value}` })}`;
  return el("a.label", { href, title: "Tasks with this label" }, visible(`${key}=${shortened(value, 40)}`));
}
