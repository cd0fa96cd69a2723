/** The agents that workers have announced, and what waits for them. They, and the tenant, can be paused here. */

import { get, send } from "./api.js";
import { CardPage } from "./card_page.js";
import { confirmed } from "./dialog.js";
import { el } from "./element.js";
import { count, idOf } from "./format.js";
import { actionButton, nothing, say } from "./notice.js";
import { payload } from "./payload.js";
import { hashOf } from "./router.js";
import { badge } from "./states.js";
import { currentTenant } from "./tenant.js";
import { visible } from "./text.js";

/** @returns {CardPage} */
export function agentsPage() {
  const problems = el("div");
  /** @type {CardPage} */
  const page = new CardPage({
    title: "Agents",
    read: async () => (await get("v1/agents")).agents,
    keyOf: (agent) => agent.name,
    card: (agent) => card(agent, () => page.load()),
    empty: () => nothing("No agents", "No worker has announced any yet."),
    tools: [tenantButton("pause", problems), tenantButton("resume", problems), problems],
  });
  return page;
}

/**
 * @param {any} agent
 * @param {() => Promise<void>} reload
 */
function card(agent, reload) {
  const [id, problems] = [idOf(agent.name), el("div")];
  const turn = async () => {
    const verb = agent.paused ? "resume" : "pause";
    if (
      !agent.paused &&
      !(await confirmed(
        `Pause ${id}?`,
        "No task of any tenant starts a step of this agent until it is resumed. What runs goes on.",
        "Pause it",
      ))
    )
      return;
    await send(`v1/agents/${encodeURIComponent(id)}:${verb}`);
    say(`${id} ${agent.paused ? "goes on" : "is paused"}`);
    await reload();
  };
  const facts = [
    ["Workers", count(agent.live_workers)],
    ["Waiting steps", count(agent.waiting_steps)],
    ["Queued batches", count(agent.queued_batches)],
    ["Largest batch", count(agent.max_batch)],
  ];
  const state = agent.paused
    ? badge("paused")
    : agent.live_workers
      ? null
      : el("span.badge", { "data-state": "waiting" }, "no worker");
  return [
    el(
      "div.card-head",
      {},
      el("h2", {}, el("a", { href: hashOf(["tasks"], { agent: id }) }, visible(id))),
      state,
      el(
        "div.actions",
        {},
        actionButton("button", [agent.paused ? "Resume" : "Pause"], turn, problems, {
          "aria-label": `${agent.paused ? "Resume" : "Pause"} ${id}`,
        }),
      ),
    ),
    agent.description && el("p.brief", { title: visible(agent.description) }, visible(agent.description)),
    el(
      "dl.facts",
      {},
      facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    ),
    problems,
    (agent.input_schema ?? agent.output_schema) !== undefined &&
      el(
        "details",
        {},
        el("summary", {}, "Input and output"),
        agent.input_schema !== undefined && [el("p.hint", {}, "Input"), payload(agent.input_schema)],
        agent.output_schema !== undefined && [el("p.hint", {}, "Output"), payload(agent.output_schema)],
      ),
  ];
}

/**
 * @param {"pause" | "resume"} verb
 * @param {HTMLElement} problems
 */
function tenantButton(verb, problems) {
  const act = async () => {
    const tenant = currentTenant();
    const text = `No step of any task of the tenant ${tenant} starts until it is resumed. What runs goes on.`;
    if (verb === "pause" && !(await confirmed(`Pause ${tenant}?`, text, "Pause the tenant"))) return;
    await send(`v1/tenant:${verb}`);
    say(`The tenant ${tenant} ${verb === "pause" ? "is paused" : "goes on"}`);
  };
  return actionButton("button", [verb === "pause" ? "Pause tenant" : "Resume tenant"], act, problems);
}
