/** One box of the graph: a step, or a group of steps that are folded into one. */

import { svg } from "./element.js";
import { count, duration } from "./format.js";
import { iconPath } from "./icon.js";
import { hasEnded, lookOf, STEP_STATES, wordOf } from "./states.js";
import { shortened, visible } from "./text.js";

export const NODE = { width: 184, height: 46, gapX: 56, gapY: 16 };

/**
 * @typedef {import("./task_source.js").StepView} StepView
 */

/** Draws one box and keeps it up to date. */
export class GraphNode {
  /**
   * @param {import("./folding.js").Group} group
   * @param {() => void} pick
   */
  constructor(group, pick) {
    this.group = group;
    this._isGroup = group.members.length > 1;
    this._icon = svg("g.node-icon", { transform: "translate(12 15)" });
    this._state = svg("text.node-side", { x: NODE.width - 12, y: 36, "text-anchor": "end" });
    this._try = svg("text.node-try", { x: NODE.width - 12, y: 19, "text-anchor": "end" });
    this._done = svg("rect.node-done", { x: 0, y: NODE.height - 3, height: 3, width: 0 });
    this._title = svg("title");
    const name = this._isGroup ? `${group.agent || "question"} × ${count(group.members.length)}` : group.id;
    const size = { width: NODE.width, height: NODE.height, rx: 9 };
    this.element = svg(
      "g.node",
      { role: "button", tabindex: "-1", click: pick },
      this._title,
      this._isGroup && svg("rect.node-under", { x: 5, y: 5, ...size }),
      svg("rect.node-box", size),
      this._icon,
      svg("text.node-name", { x: 38, y: 20 }, shortened(visible(name), 19)),
      svg(
        "text.node-agent",
        { x: 38, y: 36 },
        shortened(visible(this._isGroup ? "steps" : group.agent || "asks a person"), 15),
      ),
      this._state,
      this._try,
      this._done,
    );
    this._seen = "";
  }

  /**
   * @param {StepView[]} steps its members as they are now
   * @param {boolean} isChosen
   */
  update(steps, isChosen) {
    const state = steps.length === 1 ? steps[0].state : together(steps);
    const side =
      steps.length === 1 ? sideOf(steps[0]) : `${count(steps.filter((step) => hasEnded(step.state)).length)} done`;
    const attempt = steps.length === 1 && steps[0].attempt > 1 ? `try ${steps[0].attempt}` : "";
    const part = steps.length === 1 ? (steps[0].state === "running" ? (steps[0].fraction ?? 0) : 0) : doneOf(steps);
    const isDropped = steps.every((step) => step.dropped);
    const seen = [state, side, attempt, part, isChosen, isDropped].join("\n");
    if (seen === this._seen) return;
    this._seen = seen;
    this.element.dataset.state = lookOf(state);
    this.element.classList.toggle("chosen", isChosen);
    this.element.classList.toggle("dropped", isDropped);
    this.element.setAttribute("aria-pressed", String(isChosen));
    const name =
      steps.length === 1
        ? `${steps[0].name}, ${steps[0].agent || "question"}`
        : `${steps.length} steps of ${this.group.agent}`;
    const label = [name, wordOf(state), side !== wordOf(state) && side, attempt].filter(Boolean).join(", ");
    this.element.setAttribute("aria-label", visible(label));
    this._title.textContent = visible(label);
    this._icon.replaceChildren(svg("circle", { cx: 8, cy: 8, r: 10 }), iconPath(lookOf(state)));
    this._state.textContent = side;
    this._try.textContent = attempt;
    this._done.setAttribute("width", String(Math.round(NODE.width * Math.min(1, Math.max(0, part)))));
  }
}

/**
 * @param {StepView} step
 * @returns {string}
 */
function sideOf(step) {
  return step.state === "succeeded" ? duration(step.runMs) : step.dropped ? "dropped" : wordOf(step.state);
}

/**
 * @param {StepView[]} steps
 * @returns {number}
 */
function doneOf(steps) {
  return steps.filter((step) => hasEnded(step.state)).length / steps.length;
}

/**
 * @param {StepView[]} steps
 * @returns {string} the state that matters most of all that they have
 */
function together(steps) {
  const states = new Set(steps.map((step) => step.state));
  if (states.has("failed")) return "failed";
  if (states.has("waiting")) return "waiting";
  return STEP_STATES.find((state) => states.has(state)) ?? "unknown";
}
