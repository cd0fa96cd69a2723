/** The state that a task's events tell, kept up to date event by event. */

import { StreamedText } from "./streamed.js";

/**
 * @typedef {object} FoldedStep
 * @property {string} name
 * @property {string} state
 * @property {string} agent
 * @property {string} worker
 * @property {number} attempt
 * @property {number} retries attempts that did not end well and were followed by another
 * @property {{reason: string, message: string} | null} failure
 * @property {string} message the latest that its agent told, or its question
 * @property {number | null} fraction part done
 * @property {string} startTime
 * @property {string} endTime
 * @property {number} runMs
 * @property {number} waitMs
 * @property {number} cost microusd
 * @property {number} tokens
 * @property {string} nextTime when the next attempt is due, in BACKOFF
 * @property {StreamedText} text
 */

const ENDED = new Set(["succeeded", "failed", "cancelled", "skipped"]);
const MOST_EVENTS = 5_000;

/** One task by its history. */
export class TaskFold {
  constructor() {
    this.cost = 0;
    this.tokens = 0;
    /** How often all was forgotten. */
    this.epoch = -1;
    this.clear();
  }

  /** Forget everything. */
  clear() {
    this.epoch += 1;
    this.state = "";
    this.revision = 0;
    this.stepCount = 0;
    this.lastSequence = 0;
    this.cost = 0;
    this.tokens = 0;
    this.startTime = "";
    this.endTime = "";
    this.message = "";
    /** @type {{reason: string, message: string} | null} */
    this.failure = null;
    /** @type {Map<string, FoldedStep>} */
    this.steps = new Map();
    /** @type {any[]} the newest events but text */
    this.events = [];
    /** @type {{revision: number, time: string, message: string, step: string, stepCount: number}[]} */
    this.revisions = [];
    /** @type {Map<string, any>} */
    this._calls = new Map();
  }

  /**
   * @param {string} name
   * @returns {FoldedStep}
   */
  step(name) {
    let step = this.steps.get(name);
    if (!step) {
      step = {
        name,
        state: "pending",
        agent: "",
        worker: "",
        attempt: 0,
        retries: 0,
        failure: null,
        message: "",
        fraction: null,
        startTime: "",
        endTime: "",
        runMs: 0,
        waitMs: 0,
        cost: 0,
        tokens: 0,
        nextTime: "",
        text: new StreamedText(),
      };
      this.steps.set(name, step);
    }
    return step;
  }

  /** How many steps have ended. */
  get endedCount() {
    let ended = 0;
    for (const step of this.steps.values()) if (ENDED.has(step.state)) ended += 1;
    return ended;
  }

  /** @param {any} event the next one */
  apply(event) {
    if (event.sequence <= this.lastSequence) return;
    this.lastSequence = event.sequence;
    if (event.type !== "step_text") {
      this.events.push(event);
      if (this.events.length > MOST_EVENTS * 1.2) this.events.splice(0, this.events.length - MOST_EVENTS);
    }
    if (event.type === "call_ended") this._called(event);
    else if (event.type === "plan_revised") this._revised(event);
    else if (event.type === "revision_requested") this.message = "the planner is asked for a revision of the plan";
    else if (event.step) this._stepped(this.step(event.step), event);
    else this._tasked(event);
  }

  /** @param {any} event */
  _tasked(event) {
    switch (event.type) {
      case "task_accepted":
        [this.state, this.startTime] = [event.state, event.time];
        break;
      case "task_started":
        this.state = event.state ?? this.state;
        break;
      case "task_planned":
        this.state = "running";
        this._revised(event);
        break;
      case "planning_progress":
        this.message = event.message ?? "";
        break;
      case "task_paused":
        this.state = "paused";
        break;
      case "task_resumed":
        this.state = "running";
        break;
      case "task_cancelling":
        [this.state, this.failure] = ["cancelling", event.failure ?? null];
        break;
      case "task_finished":
        [this.state, this.failure, this.endTime] = [event.state, event.failure ?? null, event.time];
        this.message = "";
        break;
      case "task_retried":
        [this.state, this.failure, this.endTime] = [event.state ?? "running", null, ""];
        for (const step of this.steps.values())
          if (step.state !== "succeeded") Object.assign(step, { state: "pending", failure: null, endTime: "" });
        break;
    }
  }

  /** @param {any} event */
  _revised(event) {
    [this.revision, this.stepCount] = [event.revision, event.step_count];
    this.message = "";
    const { revision, time, message = "", step = "" } = event;
    this.revisions.push({ revision, time, message, step, stepCount: event.step_count });
  }

  /**
   * @param {FoldedStep} step
   * @param {any} event
   */
  _stepped(step, event) {
    switch (event.type) {
      case "step_ready":
        step.state = "ready";
        break;
      case "step_started":
        this._started(step, event);
        break;
      case "step_progress":
        step.message = event.message ?? step.message;
        step.fraction = event.fraction ?? step.fraction;
        break;
      case "step_text":
        step.text.write(event.text, event.text_offset ?? 0);
        break;
      case "step_waiting":
        Object.assign(step, { state: "waiting", attempt: event.attempt, worker: "", message: event.message ?? "" });
        step.startTime = event.time;
        break;
      case "step_retried":
        [step.state, step.failure] = ["backoff", event.failure ?? null];
        step.retries += 1;
        step.fraction = null;
        step.nextTime = new Date(Date.parse(event.time) + (event.delay_ms ?? 0)).toISOString();
        step.text.void();
        this._spent(step, event);
        break;
      case "step_finished":
        this._finished(step, event);
        break;
    }
  }

  /**
   * @param {FoldedStep} step
   * @param {any} event
   */
  _started(step, event) {
    Object.assign(step, { state: "running", attempt: event.attempt, worker: event.worker ?? "" });
    Object.assign(step, { startTime: event.time, endTime: "", message: "", fraction: null });
    step.agent = event.agent ?? step.agent;
    step.text.clear();
  }

  /**
   * @param {FoldedStep} step
   * @param {any} event
   */
  _finished(step, event) {
    [step.state, step.endTime, step.fraction] = [event.step_state, event.time, null];
    step.failure = step.state === "succeeded" ? null : (event.failure ?? step.failure);
    if (event.message) step.message = event.message;
    this._spent(step, event);
  }

  /**
   * @param {FoldedStep} step
   * @param {any} event
   */
  _spent(step, event) {
    step.runMs += event.run_ms ?? 0;
    step.waitMs += event.wait_ms ?? 0;
    this._used(step, event.usage, undefined);
  }

  /** @param {any} event */
  _called(event) {
    const key = `${event.step ?? ""} ${event.attempt ?? 0} ${event.call ?? 0}`;
    this._used(event.step ? this.step(event.step) : null, event.usage, this._calls.get(key));
    this._calls.set(key, event.usage);
  }

  /**
   * @param {FoldedStep | null} step
   * @param {any} usage
   * @param {any} before what it replaces
   */
  _used(step, usage, before) {
    for (const owner of step ? [this, step] : [this]) {
      owner.cost += (usage?.cost_microusd ?? 0) - (before?.cost_microusd ?? 0);
      owner.tokens += tokensOf(usage) - tokensOf(before);
    }
  }
}

/**
 * @param {any} usage
 * @returns {number} that went in and came out
 */
export function tokensOf(usage) {
  return (usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0);
}
