/** JSON in which large integers stay as they were written, also those that a double cannot hold. */

/**
 * @param {string} text
 * @returns {any} integers that would change are kept as their own text. Raises SyntaxError.
 */
export function parse(text) {
  const raw = /** @type {any} */ (JSON).rawJSON;
  /** @type {any} */
  const keep = (/** @type {string} */ _key, /** @type {any} */ value, /** @type {any} */ context) => {
    const isLarge = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
    return isLarge && raw && context?.source ? raw(context.source) : value;
  };
  return JSON.parse(text, keep);
}

/**
 * @param {any} value
 * @returns {string} readable, with line breaks
 */
export function pretty(value) {
  return JSON.stringify(value, null, 2) ?? "null";
}
