/** The field for documents: files that are chosen or dropped, and text that is pasted. */

import { el, fill } from "./element.js";
import { icon } from "./icon.js";
import { count } from "./format.js";
import { visible } from "./text.js";

const PASTED = "pasted.md";

let number = 0;

/**
 * @returns {{element: HTMLElement, read: () => Promise<{documents?: any[]}>}}
 */
export function documentField() {
  const id = `documents-${++number}`;
  /** @type {File[]} */
  const files = [];
  const list = el("ul.plain");
  const input = /** @type {HTMLInputElement} */ (el("input", { id, type: "file", multiple: true }));
  const pasted = /** @type {HTMLTextAreaElement} */ (
    el("textarea", { id: `${id}-text`, rows: 3, placeholder: "Paste text that the task may use" })
  );
  const add = (/** @type {FileList | undefined} */ added) => {
    files.push(...(added ?? []));
    show();
  };
  const show = () =>
    fill(
      list,
      files.map((file, at) =>
        el(
          "li",
          {},
          el("code", {}, visible(file.name)),
          ` ${count(file.size)} bytes `,
          el(
            "button.quiet.square",
            {
              type: "button",
              "aria-label": `Remove ${visible(file.name)}`,
              click: () => (files.splice(at, 1), show()),
            },
            icon("close"),
          ),
        ),
      ),
    );
  input.addEventListener("change", () => {
    add(input.files ?? undefined);
    input.value = "";
  });
  const element = el(
    "fieldset.group.drop",
    {
      dragover: (event) => event.preventDefault(),
      drop: (event) => {
        event.preventDefault();
        add(/** @type {DragEvent} */ (event).dataTransfer?.files);
      },
    },
    el("legend", {}, "Documents"),
    el("div.field", {}, el("label", { for: id }, "Files"), input),
    list,
    el("div.field", {}, el("label", { for: `${id}-text` }, "Text"), pasted),
  );
  return { element, read: async () => documents(files, pasted.value) };
}

/**
 * @param {File[]} files
 * @param {string} pasted
 */
async function documents(files, pasted) {
  const read = await Promise.all(
    files.map(async (file) => ({ name: file.name, data_base64: base64(new Uint8Array(await file.arrayBuffer())) })),
  );
  const all = pasted.trim() ? [...read, { name: PASTED, text: pasted }] : read;
  return all.length ? { documents: all } : {};
}

/**
 * @param {Uint8Array} bytes
 * @returns {string}
 */
function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}
