/**
 * A form made from a JSON Schema. What the schema asks is given by fields where fields can say it, and as JSON where
 * they cannot; the server judges the answer.
 */

import { el, fill } from "./element.js";
import { parse, pretty } from "./json.js";
import { misfit } from "./problem.js";
import { visible } from "./text.js";

const MOST_DEPTH = 3;
const MOST_CHOICES = 100;
const LONG_TEXT = 120;

/**
 * @typedef {() => any} Reader gives the value, undefined if none was given. Raises `Problem` for what cannot be read.
 * @typedef {{element: HTMLElement, read: Reader}} Field
 */

let number = 0;

/**
 * @param {any} schema
 * @param {{label: string, initial?: any}} look
 * @returns {Field}
 */
export function schemaForm(schema, { label, initial }) {
  const made = fieldOf(schema, schema, { name: label, path: label, isRequired: true, depth: 0, initial });
  const plain = jsonField(label, label, initial, true);
  if (!made) return plain;
  let current = made;
  const place = el("div.stack", {}, made.element);
  const toggle = el("button.quiet.small", { type: "button", "aria-pressed": "false" }, "Write it as JSON");
  toggle.addEventListener("click", () => {
    current = current === made ? plain : made;
    toggle.setAttribute("aria-pressed", String(current === plain));
    fill(place, current.element);
  });
  return { element: el("div.stack", {}, place, el("div", {}, toggle)), read: () => current.read() };
}

/**
 * @typedef {{name: string, path: string, isRequired: boolean, depth: number, initial?: any}} Place
 * @param {any} root in which local references are looked up
 * @param {any} given
 * @param {Place} place
 * @returns {Field | undefined} undefined if fields cannot say it
 */
function fieldOf(root, given, place) {
  const schema = resolved(root, given);
  if (!schema || typeof schema !== "object") return undefined;
  const initial = place.initial !== undefined ? place.initial : schema.default;
  const here = { ...place, initial, hint: schema.description ?? "", name: schema.title ?? place.name };
  const choices = schema.const !== undefined ? [schema.const] : schema.enum;
  if (Array.isArray(choices)) return choices.length <= MOST_CHOICES ? choiceField(choices, here) : undefined;
  switch (schema.type) {
    case "boolean":
      return choiceField([true, false], here);
    case "string":
      return textField(schema, here);
    case "integer":
    case "number":
      return numberField(schema, here);
    case "object":
      return objectField(root, schema, here);
    case "array":
      return arrayField(root, schema, here);
    default:
      return undefined;
  }
}

/**
 * @typedef {Place & {hint: string}} Shown
 * @param {Shown} place
 * @param {(id: string, described: string | undefined) => HTMLElement} make the control
 * @returns {HTMLElement}
 */
function labelled(place, make) {
  const id = `field-${++number}`;
  const hint = place.hint ? el("p.hint", { id: `${id}-hint` }, visible(place.hint)) : null;
  const mark = place.isRequired ? null : el("span.hint", {}, " (optional)");
  return el(
    "div.field",
    {},
    el("label", { for: id }, visible(place.name), mark),
    make(id, hint ? `${id}-hint` : undefined),
    hint,
  );
}

/**
 * @param {any[]} choices
 * @param {Shown} place
 * @returns {Field}
 */
function choiceField(choices, place) {
  if (choices.length > 6) return selectField(choices, place);
  const group = `choice-${++number}`;
  const same = JSON.stringify(place.initial);
  const radios = choices.map((choice, at) => {
    const checked = place.initial !== undefined && JSON.stringify(choice) === same;
    return /** @type {HTMLInputElement} */ (el("input", { type: "radio", name: group, value: at, checked }));
  });
  const shown = choices.map((choice, at) =>
    el("label.choice", {}, radios[at], el("span", {}, visible(wordOf(choice)))),
  );
  const legend = el("legend", {}, visible(place.name), !place.isRequired && el("span.hint", {}, " (optional)"));
  const element = el(
    "fieldset.field",
    {},
    legend,
    place.hint && el("p.hint", {}, visible(place.hint)),
    el("div.choices", {}, shown),
  );
  return {
    element,
    read: () =>
      given(
        place,
        radios.some((radio) => radio.checked),
        () => choices[radios.findIndex((radio) => radio.checked)],
      ),
  };
}

/**
 * @param {any[]} choices
 * @param {Shown} place
 * @returns {Field}
 */
function selectField(choices, place) {
  const options = choices.map((choice, at) =>
    el(
      "option",
      { value: at, selected: JSON.stringify(choice) === JSON.stringify(place.initial) },
      visible(wordOf(choice)),
    ),
  );
  const select = /** @type {HTMLSelectElement} */ (el("select", {}, el("option", { value: "" }, "Choose…"), options));
  const element = labelled(place, (id, described) => withId(select, id, described));
  return { element, read: () => given(place, select.value !== "", () => choices[Number(select.value)]) };
}

/**
 * @param {any} schema
 * @param {Shown} place
 * @returns {Field}
 */
function textField(schema, place) {
  const isLong = !schema.format && !schema.pattern && (schema.maxLength ?? Infinity) > LONG_TEXT;
  const input = /** @type {HTMLInputElement} */ (
    el(isLong ? "textarea" : "input", {
      rows: isLong && 2,
      maxlength: schema.maxLength,
      spellcheck: isLong ? "true" : "false",
    })
  );
  if (typeof place.initial === "string") input.value = place.initial;
  const element = labelled(place, (id, described) => withId(input, id, described));
  return { element, read: () => given(place, input.value !== "", () => input.value) };
}

/**
 * @param {any} schema
 * @param {Shown} place
 * @returns {Field}
 */
function numberField(schema, place) {
  const whole = schema.type === "integer";
  const input = /** @type {HTMLInputElement} */ (
    el("input", { inputmode: whole ? "numeric" : "decimal", autocomplete: "off" })
  );
  if (place.initial !== undefined) input.value = pretty(place.initial);
  const element = labelled(place, (id, described) => withId(input, id, described));
  const form = whole ? /^-?\d+$/ : /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$/;
  return {
    element,
    read: () =>
      given(place, input.value.trim() !== "", () => {
        if (!form.test(input.value.trim()))
          throw misfit(place.path, whole ? "must be a whole number" : "must be a number, such as 1.5");
        return parse(input.value.trim().replace(/^(-?)0+(?=\d)/, "$1"));
      }),
  };
}

/**
 * @param {any} root
 * @param {any} schema
 * @param {Shown} place
 * @returns {Field | undefined}
 */
function objectField(root, schema, place) {
  const properties = Object.entries(schema.properties ?? {});
  if (!properties.length || place.depth >= MOST_DEPTH)
    return jsonField(place.name, place.path, place.initial, place.isRequired, place.hint);
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  const fields = properties.map(([name, inner]) => {
    const [isRequired, path] = [required.has(name), place.depth || place.path ? `${place.path}.${name}` : name];
    const inside = { name, path, isRequired, depth: place.depth + 1, initial: place.initial?.[name] };
    return { name, ...(fieldOf(root, inner, inside) ?? jsonField(name, path, inside.initial, isRequired)) };
  });
  const element = el(
    "fieldset.group",
    {},
    el("legend", {}, visible(place.name)),
    place.hint && el("p.hint", {}, visible(place.hint)),
    fields.map((field) => field.element),
  );
  const read = () => {
    const entries = fields.map(({ name, read: inner }) => /** @type {[string, any]} */ ([name, inner()]));
    const told = entries.filter(([, value]) => value !== undefined);
    return told.length || place.isRequired ? Object.fromEntries(told) : undefined;
  };
  return { element, read };
}

/**
 * @param {any} root
 * @param {any} schema
 * @param {Shown} place
 * @returns {Field | undefined}
 */
function arrayField(root, schema, place) {
  const items = resolved(root, schema.items);
  if (items?.type !== "string" || items.enum) return undefined;
  const area = /** @type {HTMLTextAreaElement} */ (el("textarea", { rows: 3 }));
  if (Array.isArray(place.initial)) area.value = place.initial.join("\n");
  const shown = { ...place, hint: [place.hint, "One on each line."].filter(Boolean).join(" ") };
  const element = labelled(shown, (id, described) => withId(area, id, described));
  const lines = () => area.value.split("\n").filter((line) => line.trim());
  return { element, read: () => (lines().length || place.isRequired ? lines() : undefined) };
}

/**
 * @param {string} name
 * @param {string} path
 * @param {any} initial
 * @param {boolean} isRequired
 * @param {string} [hint]
 * @returns {Field}
 */
export function jsonField(name, path, initial, isRequired, hint = "") {
  const area = /** @type {HTMLTextAreaElement} */ (el("textarea.code", { rows: 4, spellcheck: "false" }));
  if (initial !== undefined) area.value = pretty(initial);
  const place = { name, path, isRequired, depth: 0, hint: hint || "As JSON; a text stands in double quotes." };
  const element = labelled(place, (id, described) => withId(area, id, described));
  return {
    element,
    read: () =>
      given(place, area.value.trim() !== "", () => {
        try {
          return parse(area.value);
        } catch (error) {
          throw misfit(place.path, `is no JSON: ${error instanceof Error ? error.message : error}`);
        }
      }),
  };
}

/**
 * @param {Place} place
 * @param {boolean} isGiven
 * @param {Reader} read
 * @returns {any}
 */
function given(place, isGiven, read) {
  if (isGiven) return read();
  if (place.isRequired) throw misfit(place.path, "is missing");
  return undefined;
}

/**
 * @template {HTMLElement} T
 * @param {T} control
 * @param {string} id
 * @param {string | undefined} described
 * @returns {T}
 */
function withId(control, id, described) {
  control.id = id;
  if (described) control.setAttribute("aria-describedby", described);
  return control;
}

/**
 * @param {any} value
 * @returns {string}
 */
function wordOf(value) {
  if (value === true) return "Yes";
  if (value === false) return "No";
  return typeof value === "string" ? value : pretty(value);
}

/**
 * @param {any} root
 * @param {any} schema
 * @returns {any} what a local reference leads to
 */
function resolved(root, schema) {
  for (let hops = 0; hops < 8 && typeof schema?.$ref === "string"; hops++) {
    if (!schema.$ref.startsWith("#/")) return undefined;
    const parts = schema.$ref
      .slice(2)
      .split("/")
      .map((/** @type {string} */ part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    schema = parts.reduce(
      (/** @type {any} */ at, /** @type {string} */ part) => (at && Object.hasOwn(at, part) ? at[part] : undefined),
      root,
    );
  }
  return schema;
}
