/** The history of a task, newest first, and the revisions of its plan. */

import { el, fill } from "./element.js";
import { clock, count, duration, moment } from "./format.js";
import { wordOf } from "./states.js";
import { visible } from "./text.js";

const MOST_ROWS = 400;

/** Adds what is new on top. */
export class EventList {
  constructor() {
    this._shown = 0;
    this._epoch = 0;
    this._list = el("ol.events", { reversed: true });
    this._revisions = el("div");
    this._revisionCount = 0;
    this.element = el("div.stack", {}, this._revisions, this._list);
  }

  /** @param {import("./fold.js").TaskFold} fold */
  update(fold) {
    if (fold.epoch !== this._epoch) {
      [this._epoch, this._shown, this._revisionCount] = [fold.epoch, 0, -1];
      fill(this._list);
    }
    const fresh = fold.events.filter((event) => event.sequence > this._shown).slice(-MOST_ROWS);
    this._shown = fold.lastSequence;
    if (fresh.length) this._list.prepend(...fresh.reverse().map(eventRow));
    while (this._list.children.length > MOST_ROWS) this._list.lastElementChild?.remove();
    if (fold.revisions.length !== this._revisionCount) {
      this._revisionCount = fold.revisions.length;
      fill(this._revisions, fold.revisions.length > 1 && revisionList(fold.revisions));
    }
  }
}

/** @param {any} event */
function eventRow(event) {
  const about = [
    event.attempt > 1 && `attempt ${event.attempt}`,
    event.state && wordOf(event.state),
    event.step_state && wordOf(event.step_state),
    event.agent,
    event.model,
    event.revision && `revision ${event.revision}`,
    event.step_count && `${count(event.step_count)} steps`,
    event.fraction !== undefined && `${Math.round(event.fraction * 100)} %`,
    event.run_ms !== undefined && duration(event.run_ms),
    event.elapsed_ms !== undefined && duration(event.elapsed_ms),
    event.message,
    event.failure && `${event.failure.reason}: ${event.failure.message}`,
  ]
    .filter(Boolean)
    .join(" · ");
  return el(
    "li",
    { value: event.sequence, "data-kind": event.type },
    el("time", { title: moment(event.time), datetime: event.time }, clock(event.time)),
    el("span.event-kind", {}, visible(String(event.type).replaceAll("_", " "))),
    event.step ? el("code", {}, visible(event.step)) : null,
    el("span.event-about", {}, visible(about)),
  );
}

/** @param {import("./fold.js").TaskFold["revisions"]} revisions */
function revisionList(revisions) {
  const items = revisions.map(({ revision, time, message, step, stepCount }) =>
    el(
      "li",
      {},
      el("strong", {}, `Revision ${revision}`),
      ` at ${clock(time)}, ${count(stepCount)} steps`,
      step && [", by ", el("code", {}, visible(step))],
      message && `: ${visible(message)}`,
    ),
  );
  return el("details.part", { open: true }, el("summary", {}, "Revisions of the plan"), el("ul.plain", {}, items));
}
