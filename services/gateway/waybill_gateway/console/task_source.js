/** All that a task's page shows: the task and its steps as the API tells them, and its history as it comes. */

import { get, listAll } from "./api.js";
import { TaskFold } from "./fold.js";
import { idOf } from "./format.js";
import { Problem } from "./problem.js";
import { hasEnded } from "./states.js";
import { EventStream } from "./stream.js";

const STEPS_A_PAGE = 1_000;
const FEW_STEPS = 50;
const SMALL_PLAN = 200;
const MOST_STEPS = 12_000;
const LOOK_MS = 4_000;
const RELOADS = new Set(["task_planned", "plan_revised", "step_waiting", "task_finished", "task_retried"]);
const REREADS = new Set([
  "task_finished",
  "task_retried",
  "task_started",
  "task_paused",
  "task_resumed",
  "task_cancelling",
]);

/**
 * @typedef {object} StepView a step of the plan as it is now
 * @property {string} name
 * @property {string} agent
 * @property {string} state
 * @property {number} attempt
 * @property {string[]} depends_on
 * @property {boolean} dropped
 * @property {number} runMs
 * @property {number} waitMs
 * @property {number} cost
 * @property {number} tokens
 * @property {number | null} fraction
 * @property {string} message
 * @property {any} failure
 * @property {any} told as the API told it last
 * @property {import("./fold.js").FoldedStep | undefined} live as its events tell
 */

/** Follows one task. `changed` is called at most once a frame. */
export class TaskSource {
  /**
   * @param {string} id
   * @param {() => void} changed
   */
  constructor(id, changed) {
    this.path = `v1/tasks/${encodeURIComponent(id)}`;
    this.fold = new TaskFold();
    /** @type {any} */
    this.task = null;
    /** @type {any[]} */
    this.planSteps = [];
    this._stepsPerPage = STEPS_A_PAGE;
    /** Name of the step whose panel is open. */
    this.watchedStep = "";
    /** @type {StepView[] | null} made anew when something has changed */
    this._steps = null;
    /** @type {import("./stream.js").Link} */
    this.link = "connecting";
    /** @type {unknown} */
    this.problem = null;
    this._changed = changed;
    this._frame = 0;
    this._isClosed = false;
    this._stepsLoader = new Loader(() => this._loadSteps());
    this._taskLoader = new Loader(() => this._loadTask());
    this._timer = setInterval(() => this._look(), LOOK_MS);
    this._stream = new EventStream(`${this.path}/events`, {
      events: (events) => this._told(events),
      reset: () => {
        this.fold.clear();
        this._change();
      },
      link: (link, problem) => this._linked(link, problem),
    });
  }

  /** Begin. */
  async start() {
    await Promise.all([this._taskLoader.load(), this._stepsLoader.load()]);
    if (this.task && !this._isClosed) void this._stream.resume();
  }

  /** End. */
  close() {
    this._isClosed = true;
    clearInterval(this._timer);
    cancelAnimationFrame(this._frame);
    this._stream.close();
  }

  /** Something was done to the task: look at once. */
  async refresh() {
    await Promise.all([this._taskLoader.load(), this._stepsLoader.load()]);
    if (!this._isClosed) void this._stream.resume();
  }

  /** The state of the task, as new as it is known. */
  get state() {
    const isNewer = this.task && this.task.last_sequence > this.fold.lastSequence;
    return (isNewer ? this.task.state : this.fold.state) || this.task?.state || "unknown";
  }

  /** @returns {StepView[]} in the order of the plan */
  get steps() {
    this._steps ??= this._merged();
    return this._steps;
  }

  /** @returns {StepView[]} */
  _merged() {
    return this.planSteps.map((told) => {
      const live = this.fold.steps.get(told.name);
      const { name, agent, depends_on, dropped } = told;
      return {
        name,
        agent,
        depends_on,
        dropped,
        told,
        live,
        state: live?.state ?? told.state,
        attempt: live?.attempt ?? told.attempt,
        runMs: live?.runMs ?? 0,
        waitMs: live?.waitMs ?? 0,
        cost: live?.cost ?? 0,
        tokens: live?.tokens ?? 0,
        fraction: live?.fraction ?? null,
        message: live?.message ?? "",
        failure: live?.failure ?? null,
      };
    });
  }

  /** @param {any[]} events */
  _told(events) {
    for (const event of events) this.fold.apply(event);
    if (events.some((event) => this._showsInSteps(event))) void this._stepsLoader.load();
    if (events.some((event) => REREADS.has(event.type))) void this._taskLoader.load();
    this._change();
  }

  /**
   * @param {any} event
   * @returns {boolean} whether the steps have to be read again for it: of a large plan only for what is looked at
   */
  _showsInSteps(event) {
    if (event.type !== "step_finished") return RELOADS.has(event.type);
    return this.planSteps.length <= SMALL_PLAN || event.step === this.watchedStep;
  }

  /**
   * @param {import("./stream.js").Link} link
   * @param {Error} [problem]
   */
  _linked(link, problem) {
    this.link = link;
    if (link === "refused") this.problem = problem;
    this._change();
  }

  /** Now and then: what no event tells, and whether an ended task runs again. */
  _look() {
    if (document.visibilityState !== "visible" || (hasEnded(this.state) && this.link !== "ended")) return;
    void this._taskLoader.load();
  }

  async _loadTask() {
    try {
      this.task = await get(this.path);
      this.problem = null;
      if (this.link === "ended" && this.task.last_sequence > this.fold.lastSequence) void this._stream.resume();
    } catch (problem) {
      this.problem = problem;
    }
    this._change();
  }

  /** @returns {Promise<any[]>} in small pages if what they returned is too large for large ones */
  async _allSteps() {
    try {
      const isFirst = this.planSteps.length === 0;
      const seen = (/** @type {any[]} */ steps) => isFirst && this._planned(steps);
      return await listAll(`${this.path}/steps`, "steps", this._stepsPerPage, MOST_STEPS / this._stepsPerPage, seen);
    } catch (problem) {
      const isTooLarge = problem instanceof Problem && problem.status === 429 && this._stepsPerPage > FEW_STEPS;
      if (!isTooLarge) throw problem;
      this._stepsPerPage = FEW_STEPS;
      return this._allSteps();
    }
  }

  /** @param {any[]} steps as the API tells them */
  _planned(steps) {
    this.planSteps = steps.map((step) => ({ ...step, name: idOf(step.name), depends_on: step.depends_on.map(idOf) }));
    this._change();
  }

  async _loadSteps() {
    try {
      this._planned(await this._allSteps());
    } catch (problem) {
      this.problem ??= problem;
    }
    this._change();
  }

  _change() {
    this._steps = null;
    if (this._isClosed || this._frame) return;
    this._frame = requestAnimationFrame(() => {
      this._frame = 0;
      this._changed();
    });
  }
}

/** Loads something again when asked, one at a time, and rests for some times as long as it took. */
class Loader {
  /** @param {() => Promise<void>} act */
  constructor(act) {
    this._act = act;
    this._restUntil = 0;
    /** @type {Promise<void>} */
    this._running = Promise.resolve();
    /** @type {Promise<void> | null} */
    this._next = null;
  }

  /** @returns {Promise<void>} settled once what was there at the time of the call has been loaded */
  load() {
    this._next ??= this._running
      .then(() => this._rested())
      .then(() => {
        this._next = null;
        this._running = this._once();
        return this._running;
      });
    return this._next;
  }

  async _once() {
    const began = performance.now();
    await this._act();
    const now = performance.now();
    this._restUntil = now + Math.min(5_000, (now - began) * 3);
  }

  async _rested() {
    const left = this._restUntil - performance.now();
    if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
  }
}
