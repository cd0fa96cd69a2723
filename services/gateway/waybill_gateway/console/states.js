/** The states of tasks and steps, and how each looks: a word, a shape and a colour, never a colour alone. */

import { el } from "./element.js";
import { icon } from "./icon.js";

export const TASK_STATES = [
  "scheduled",
  "planning",
  "running",
  "paused",
  "cancelling",
  "succeeded",
  "failed",
  "cancelled",
];
export const STEP_STATES = [
  "running",
  "waiting",
  "backoff",
  "failed",
  "ready",
  "pending",
  "succeeded",
  "skipped",
  "cancelled",
];

/** @type {Record<string, string>} */
const WORDS = { backoff: "retrying", waiting: "needs answer" };
const ENDED = new Set(["succeeded", "failed", "cancelled", "skipped"]);
const KNOWN = new Set([...TASK_STATES, ...STEP_STATES]);

/**
 * @param {string} state
 * @returns {boolean} whether nothing follows by itself
 */
export function hasEnded(state) {
  return ENDED.has(state);
}

/**
 * @param {string} state
 * @returns {string} as people read it
 */
export function wordOf(state) {
  return WORDS[state] ?? state;
}

/**
 * @param {string} state
 * @returns {string} a state that the style sheet knows
 */
export function lookOf(state) {
  return KNOWN.has(state) ? state : "unknown";
}

/**
 * @param {string} state
 * @returns {HTMLElement}
 */
export function badge(state) {
  const look = lookOf(state);
  return el("span.badge", { "data-state": look }, icon(look), el("span", {}, wordOf(state)));
}
