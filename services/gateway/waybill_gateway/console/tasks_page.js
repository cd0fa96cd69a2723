/** The list of tasks, newest first; its first page keeps itself up to date while somebody looks. */

import { get } from "./api.js";
import { el, fill } from "./element.js";
import { apiFilter, FilterBar, isFiltered } from "./filter_bar.js";
import { ago, count, duration, idOf, moment, money } from "./format.js";
import { nothing, showProblem } from "./notice.js";
import { hashOf, here } from "./router.js";
import { badge, hasEnded, lookOf } from "./states.js";
import { labelLink, labelsOf, titleOf } from "./task_head.js";
import { shortened, visible } from "./text.js";

const PAGE_SIZE = 50;
const REFRESH_MS = 3_000;
const LABELS_SHOWN = 3;

/** Shows one page of tasks. */
export class TasksPage {
  constructor() {
    this._filters = new FilterBar((query) => (location.hash = hashOf(["tasks"], query)));
    this._problems = el("div");
    this._list = el("ul.tasks", { "aria-label": "Tasks" });
    this._list.addEventListener("keydown", (event) => this._pressed(/** @type {KeyboardEvent} */ (event)));
    this._empty = el("div");
    this._pager = el("nav.pager", { "aria-label": "Pages" });
    this._title = el("h1", { tabindex: "-1" }, "Tasks");
    this.element = el(
      "div.page",
      {},
      el(
        "header.title-row",
        {},
        this._title,
        el("div.actions", {}, el("a.button.primary", { href: "#/submit" }, "New task")),
      ),
      this._filters.element,
      this._problems,
      this._list,
      this._empty,
      this._pager,
    );
    /** @type {Map<string, {row: HTMLElement, seen: string}>} */
    this._rows = new Map();
    this._query = new URLSearchParams();
    this._loading = new AbortController();
    this._timer = 0;
  }

  async open() {
    document.title = "Tasks · Waybill";
    await this.routed();
  }

  close() {
    clearTimeout(this._timer);
    this._loading.abort();
  }

  /** The address has changed. */
  async routed() {
    this._query = here().query;
    this._filters.show(this._query);
    await this._load();
  }

  async _load() {
    clearTimeout(this._timer);
    this._loading.abort();
    const loading = (this._loading = new AbortController());
    const page = this._query.get("page") ?? "";
    try {
      const filter = { ...apiFilter(this._query), page_size: PAGE_SIZE, page_token: page };
      const answer = await get("v1/tasks", filter, loading.signal);
      if (loading.signal.aborted) return;
      fill(this._problems);
      this._show(answer.tasks, page, answer.next_page_token);
    } catch (problem) {
      if (loading.signal.aborted) return;
      showProblem(this._problems, problem);
    }
    if (!page) this._timer = setTimeout(() => this._again(), REFRESH_MS);
  }

  _again() {
    if (document.visibilityState === "visible") return void this._load();
    this._timer = setTimeout(() => this._again(), REFRESH_MS);
  }

  /**
   * @param {any[]} tasks
   * @param {string} page
   * @param {string} next
   */
  _show(tasks, page, next) {
    const rows = tasks.map((task) => this._row(task));
    const focused =
      document.activeElement instanceof HTMLElement && this._list.contains(document.activeElement)
        ? document.activeElement
        : null;
    const isSame =
      rows.length === this._list.children.length && rows.every((row, at) => row === this._list.children[at]);
    if (!isSame) fill(this._list, rows);
    if (focused && focused.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
    const names = new Set(tasks.map((task) => task.name));
    for (const name of this._rows.keys()) if (!names.has(name)) this._rows.delete(name);
    this._list.hidden = tasks.length === 0;
    const isFirst = !page;
    const seen = `${tasks.length > 0} ${isFiltered(this._query)} ${page} ${next}`;
    if (this._empty.dataset.seen === seen) return;
    this._empty.dataset.seen = seen;
    fill(this._empty, tasks.length === 0 && this._nothing());
    const older = new URLSearchParams(this._query);
    const newest = new URLSearchParams(this._query);
    older.set("page", next);
    newest.delete("page");
    fill(
      this._pager,
      !isFirst && el("a.button", { href: hashOf(["tasks"], newest) }, "Newest"),
      next && el("a.button", { href: hashOf(["tasks"], older) }, "Older"),
    );
  }

  _nothing() {
    if (isFiltered(this._query))
      return nothing("No task fits these filters", el("a", { href: "#/tasks" }, "Show all tasks"));
    return nothing("No tasks yet", [el("a", { href: "#/submit" }, "Submit the first one"), ", and follow it here."]);
  }

  /** @param {any} task */
  _row(task) {
    const kept = this._rows.get(task.name);
    const isLater = task.state === "scheduled" && task.start_time;
    const taken = task.end_time ? duration(Date.parse(task.end_time) - Date.parse(task.create_time)) : "";
    const time = isLater ? ago(task.start_time) : ago(task.create_time);
    const labels = labelsOf(task);
    const seen = JSON.stringify([{ ...task, labels }, time, taken]);
    if (kept?.seen === seen) return kept.row;
    const row = kept?.row ?? el("li.task");
    const hadFocus = row.contains(document.activeElement);
    const total = task.step_count;
    row.dataset.state = lookOf(task.state);
    fill(
      row,
      el("div.task-state", {}, badge(task.state)),
      el(
        "div.task-what",
        {},
        el("a.task-link", { href: hashOf(["tasks", idOf(task.name)]) }, shortened(titleOf(task), 160)),
        el(
          "p.task-about",
          {},
          el("code", {}, idOf(task.name)),
          labels.slice(0, LABELS_SHOWN).map(([key, value]) => labelLink(key, value)),
          labels.length > LABELS_SHOWN && el("span.hint", {}, `+${labels.length - LABELS_SHOWN}`),
          task.failure && el("span.task-failure", {}, visible(shortened(task.failure.message, 120))),
        ),
      ),
      el("div.task-steps", {}, total ? progress(task, total) : el("span.hint", {}, "no plan yet")),
      el(
        "div.task-time",
        {},
        el("span", { title: moment(isLater ? task.start_time : task.create_time) }, time),
        el("span.hint", {}, taken, task.usage.cost_microusd > 0 ? ` ${money(task.usage.cost_microusd)}` : ""),
      ),
    );
    if (hadFocus) /** @type {HTMLElement} */ (row.querySelector("a.task-link")).focus({ preventScroll: true });
    this._rows.set(task.name, { row, seen });
    return row;
  }

  /** Arrows go from task to task. @param {KeyboardEvent} event */
  _pressed(event) {
    const links = /** @type {HTMLElement[]} */ ([...this._list.querySelectorAll("a.task-link")]);
    const at = links.findIndex((link) => link.closest("li")?.contains(document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    links[Math.min(links.length - 1, Math.max(0, to))].focus();
  }
}

/**
 * @param {any} task
 * @param {number} total
 */
function progress(task, total) {
  const bar = el("div.meter-done");
  bar.style.width = `${(100 * task.ended_step_count) / total}%`;
  const text = `${count(task.ended_step_count)} of ${count(total)} steps`;
  return [el("span.hint", {}, text), el("div.meter", { "data-state": task.state, "aria-hidden": "true" }, bar)];
}
