/** Dialogs: the browser's own, so that focus stays inside and returns to where it came from. */

import { el, fill } from "./element.js";
import { icon } from "./icon.js";

let number = 0;

/**
 * @param {string} title
 * @param {import("./element.js").Child[]} content
 * @param {{wide?: boolean}} [look]
 * @returns {HTMLDialogElement} open
 */
export function openDialog(title, content, look = {}) {
  const id = `dialog-${++number}`;
  const opener = document.activeElement;
  const close = el(
    "button.quiet.square",
    { type: "button", "aria-label": "Close", click: () => dialog.close() },
    icon("close"),
  );
  const dialog = /** @type {HTMLDialogElement} */ (
    el(
      look.wide ? "dialog.wide" : "dialog",
      { "aria-labelledby": id },
      el("div.dialog-head", {}, el("h2", { id }, title), close),
      el("div.dialog-body", {}, content),
    )
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Asks before something that cannot be undone.
 * @param {string} title
 * @param {string} text
 * @param {string} action what the button says
 * @returns {Promise<boolean>}
 */
export function confirmed(title, text, action) {
  return new Promise((resolve) => {
    const keep = el("button", { type: "button", click: () => dialog.close() }, "Keep");
    const act = el("button.danger", { type: "button", click: () => dialog.close("yes") }, action);
    const dialog = openDialog(title, [el("p", {}, text), el("div.actions.end", {}, keep, act)]);
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"));
    keep.focus();
  });
}

/**
 * Puts what came later into a dialog that is open already.
 * @param {HTMLDialogElement} dialog
 * @param {...import("./element.js").Child} content
 */
export function fillDialog(dialog, ...content) {
  fill(/** @type {Element} */ (dialog.querySelector(".dialog-body")), ...content);
}
