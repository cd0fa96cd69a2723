/** Tabs, as the patterns for keyboards have them: one stop in the order of tabs, arrows between them. */

import { el } from "./element.js";

let number = 0;

/** A list of tabs over one panel. */
export class TabList {
  /**
   * @param {string} label
   * @param {Record<string, string>} names by id
   * @param {(id: string) => void} chosen by hand
   */
  constructor(label, names, chosen) {
    this._id = `tabs-${++number}`;
    this._tabs = Object.entries(names).map(([id, name]) =>
      el(
        "button.tab",
        {
          type: "button",
          role: "tab",
          id: `${this._id}-${id}`,
          "data-id": id,
          "aria-controls": `${this._id}-panel`,
          click: () => chosen(id),
        },
        name,
      ),
    );
    this.element = el("div.tabs", { role: "tablist", "aria-label": label }, this._tabs);
    this.element.addEventListener("keydown", (event) => {
      const at = this._tabs.indexOf(/** @type {HTMLElement} */ (document.activeElement));
      const { key } = /** @type {KeyboardEvent} */ (event);
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: this._tabs.length - 1 }[key];
      if (to === undefined) return;
      event.preventDefault();
      const tab = this._tabs[(to + this._tabs.length) % this._tabs.length];
      tab.focus();
      chosen(tab.dataset.id ?? "");
    });
  }

  /** @returns {import("./element.js").Attributes} of the element that the tabs control */
  panelAttributes() {
    return { role: "tabpanel", id: `${this._id}-panel` };
  }

  /** @param {string} id */
  choose(id) {
    for (const tab of this._tabs) {
      const isChosen = tab.dataset.id === id;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      if (isChosen) document.getElementById(`${this._id}-panel`)?.setAttribute("aria-labelledby", tab.id);
    }
  }

  /** Give the focus to the tab that is chosen. */
  focus() {
    this._tabs.find((tab) => tab.tabIndex === 0)?.focus();
  }
}
