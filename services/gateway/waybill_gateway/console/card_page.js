/** A page that is a list of cards: it reads them, shows them, and reads them again while somebody looks. */

import { el, fill } from "./element.js";
import { nothing, showProblem } from "./notice.js";
import { Problem } from "./problem.js";

const REFRESH_MS = 5_000;

/**
 * @typedef {object} Cards what a page shows
 * @property {string} title
 * @property {() => Promise<any[]>} read
 * @property {(item: any) => string} keyOf
 * @property {(item: any) => import("./element.js").Child} card
 * @property {() => HTMLElement} empty shown where there are none
 * @property {import("./element.js").Child} [tools]
 * @property {() => Promise<void>} [also] done with each reading
 */

/** Shows the cards. A card is made anew only when what it shows has changed. */
export class CardPage {
  /** @param {Cards} cards */
  constructor(cards) {
    this._cards = cards;
    this._problems = el("div");
    this._list = el("ul.cards", { "aria-label": cards.title });
    this._empty = el("div");
    /** @type {Map<string, {element: HTMLElement, seen: string}>} */
    this._kept = new Map();
    this._timer = 0;
    this._isClosed = false;
    this.element = el(
      "div.page",
      {},
      el(
        "header.title-row",
        {},
        el("h1", { tabindex: "-1" }, cards.title),
        cards.tools && el("div.actions", {}, cards.tools),
      ),
      this._problems,
      this._list,
      this._empty,
    );
  }

  async open() {
    document.title = `${this._cards.title} · Waybill`;
    await this.load();
  }

  close() {
    this._isClosed = true;
    clearTimeout(this._timer);
  }

  routed() {}

  /** Read and show. */
  async load() {
    clearTimeout(this._timer);
    try {
      const [items] = await Promise.all([this._cards.read(), this._cards.also?.()]);
      if (this._isClosed) return;
      fill(this._problems);
      this._show(items);
    } catch (problem) {
      const isAbsent = problem instanceof Problem && problem.absent;
      if (isAbsent) fill(this._problems, nothing("This server does not have them", "A newer release may."));
      else showProblem(this._problems, problem);
      if (isAbsent) return;
    }
    this._timer = setTimeout(() => this._again(), REFRESH_MS);
  }

  _again() {
    if (document.visibilityState === "visible") return void this.load();
    this._timer = setTimeout(() => this._again(), REFRESH_MS);
  }

  /** @param {any[]} items */
  _show(items) {
    const elements = items.map((item) => {
      const [key, seen] = [this._cards.keyOf(item), JSON.stringify(item)];
      const kept = this._kept.get(key);
      if (kept?.seen === seen) return kept.element;
      const element = kept?.element ?? el("li.card", { "data-key": key });
      const isOpen = Boolean(element.querySelector("details[open]"));
      const hadFocus = element.contains(document.activeElement);
      fill(element, this._cards.card(item));
      if (isOpen) element.querySelector("details")?.setAttribute("open", "");
      if (hadFocus) /** @type {HTMLElement | null} */ (element.querySelector("button, a, summary"))?.focus();
      this._kept.set(key, { element, seen });
      return element;
    });
    const isSame =
      elements.length === this._list.children.length &&
      elements.every((element, at) => element === this._list.children[at]);
    if (!isSame) fill(this._list, elements);
    this._list.hidden = items.length === 0;
    if (items.length === 0 && !this._empty.firstChild) fill(this._empty, this._cards.empty());
    if (items.length > 0) fill(this._empty);
  }
}
