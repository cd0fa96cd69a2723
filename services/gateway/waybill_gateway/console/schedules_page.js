/** Schedules: tasks that are submitted again and again. */

import { get, listAll, send } from "./api.js";
import { CardPage } from "./card_page.js";
import { confirmed } from "./dialog.js";
import { el, fill } from "./element.js";
import { ago, count, duration, idOf, moment } from "./format.js";
import { actionButton, nothing, problemBox, say } from "./notice.js";
import { payload } from "./payload.js";
import { hashOf } from "./router.js";
import { scheduleForm } from "./schedule_form.js";
import { badge } from "./states.js";
import { visible } from "./text.js";

const PAGE_SIZE = 100;
const MOST_PAGES = 5;

/** @returns {CardPage} */
export function schedulesPage() {
  const add = el("button.primary", { type: "button", click: () => scheduleForm(() => page.load()) }, "New schedule");
  /** @type {CardPage} */
  const page = new CardPage({
    title: "Schedules",
    read: () => listAll("v1/schedules", "schedules", PAGE_SIZE, MOST_PAGES),
    keyOf: (schedule) => schedule.name,
    card: (schedule) => card(schedule, () => page.load()),
    empty: () => nothing("No schedules", "A schedule submits a task again and again.", "scheduled"),
    tools: add,
  });
  return page;
}

/**
 * @param {any} schedule
 * @param {() => Promise<void>} reload
 */
function card(schedule, reload) {
  const [id, problems] = [idOf(schedule.name), el("div")];
  const path = `v1/schedules/${encodeURIComponent(id)}`;
  const act = (/** @type {string} */ verb, /** @type {string} */ done) => async () => {
    await send(`${path}:${verb}`);
    say(done);
    await reload();
  };
  const remove = async () => {
    if (!(await confirmed(`Delete ${id}?`, "It submits no more tasks. Those that it has submitted stay.", "Delete it")))
      return;
    await send(path, {}, "DELETE");
    say("The schedule was deleted");
    await reload();
  };
  const facts = [
    [
      "When",
      schedule.cron
        ? `${schedule.cron} (${schedule.time_zone || "UTC"})`
        : `every ${duration(Number(schedule.interval_ms))}`,
    ],
    ["Next", schedule.next_time ? ago(schedule.next_time) : "none", schedule.next_time && moment(schedule.next_time)],
    ["Submitted", count(Number(schedule.submitted_count ?? 0))],
    ["Overlap", schedule.overlap_policy],
    ["Missed", schedule.catch_up_policy],
  ].filter(([, value]) => value);
  const button = (/** @type {string} */ look, /** @type {string} */ label, /** @type {() => Promise<void>} */ doing) =>
    actionButton(look, [label], doing, problems, { "aria-label": `${label} ${id}` });
  return [
    el(
      "div.card-head",
      {},
      el("h2", {}, el("a", { href: hashOf(["tasks"], { label: `waybill.schedule=${id}` }) }, visible(id))),
      schedule.paused && badge("paused"),
      el(
        "div.actions",
        {},
        button("button", "Trigger", act("trigger", "It fires now")),
        schedule.paused
          ? button("button", "Resume", act("resume", "The schedule goes on"))
          : button("button", "Pause", act("pause", "The schedule is paused")),
        button("button.danger", "Delete", remove),
      ),
    ),
    el("p", {}, visible(schedule.spec?.goal || schedule.spec?.template || "a plan")),
    el(
      "dl.facts",
      {},
      facts.map(([name, value, title]) => el("div", {}, el("dt", {}, name), el("dd", { title }, visible(value)))),
    ),
    problems,
    details(path),
  ];
}

/** @param {string} path */
function details(path) {
  const place = el("div.stack");
  const box = el("details", {}, el("summary", {}, "Firings and what is submitted"), place);
  box.addEventListener("toggle", async () => {
    if (!(/** @type {HTMLDetailsElement} */ (box).open)) return;
    try {
      const schedule = await get(path);
      const firings = (schedule.firings ?? []).map((/** @type {any} */ firing) =>
        el(
          "li",
          {},
          visible(moment(firing.due_time)),
          " ",
          firing.task && el("a", { href: hashOf(["tasks", idOf(firing.task)]) }, visible(idOf(firing.task))),
          " ",
          visible([firing.outcome, firing.failure?.message].filter(Boolean).join(": ")),
        ),
      );
      fill(place, el("ul.plain", {}, firings), payload(schedule.spec));
    } catch (problem) {
      fill(place, problemBox(problem));
    }
  });
  return box;
}
