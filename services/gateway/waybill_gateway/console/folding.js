/** Folding of large plans: steps of one agent that stand in the same layer become one group, until all fits. */

import { depths } from "./layout.js";

export const MOST_SHOWN = 160;

/**
 * @typedef {{name: string, agent: string, depends_on: string[]}} PlanStep
 * @typedef {{id: string, agent: string, members: string[], needs: string[]}} Group of one member: a step by itself
 */

/**
 * @param {PlanStep[]} steps
 * @param {number} [most] groups
 * @returns {Group[]} every step in exactly one
 */
export function folded(steps, most = MOST_SHOWN) {
  if (steps.length <= most)
    return steps.map(({ name, agent, depends_on }) => ({ id: name, agent, members: [name], needs: depends_on }));
  const known = new Set(steps.map(({ name }) => name));
  const needs = new Map(steps.map(({ name, depends_on }) => [name, depends_on.filter((need) => known.has(need))]));
  const depth = depths(
    steps.map(({ name }) => ({ id: name, needs: [] })),
    needs,
  );
  const byLayer = joined(steps, (step) => `${depth.get(step.name)}:${step.agent}`);
  if (byLayer.length <= most) return byLayer;
  // A plan that is deep rather than wide: several layers share a group, whatever their agents.
  const deepest = Math.max(...depth.values()) + 1;
  const layersEach = Math.ceil(deepest / most);
  return joined(steps, (step) => `${Math.floor((depth.get(step.name) ?? 0) / layersEach)}`);
}

/**
 * @param {PlanStep[]} steps
 * @param {(step: PlanStep) => string} keyOf
 * @returns {Group[]}
 */
function joined(steps, keyOf) {
  /** @type {Map<string, PlanStep[]>} */
  const members = new Map();
  const groupOf = new Map();
  for (const step of steps) {
    const key = keyOf(step);
    groupOf.set(step.name, key);
    const list = members.get(key);
    if (list) list.push(step);
    else members.set(key, [step]);
  }
  return [...members].map(([key, list]) => {
    const needed = new Set(list.flatMap((step) => step.depends_on.map((need) => idOf(groupOf.get(need)))));
    needed.delete(idOf(key));
    needed.delete("");
    const agents = new Set(list.map((step) => step.agent));
    const agent = agents.size === 1 ? list[0].agent : `${agents.size} agents`;
    return { id: idOf(key), agent, members: list.map((step) => step.name), needs: [...needed] };
  });

  /** @param {string | undefined} key */
  function idOf(key) {
    const list = key === undefined ? [] : (members.get(key) ?? []);
    return list.length === 1 ? list[0].name : list.length ? `group ${key}` : "";
  }
}
