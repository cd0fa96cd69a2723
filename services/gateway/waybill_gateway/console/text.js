/** Untrusted text: what would reorder or hide other text is made visible. */

// Embeddings, overrides and isolates of direction, and controls other than tab, line feed and carriage return.
const DECEPTIVE = /[\u202a-\u202e\u2066-\u2069\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;

/**
 * The text with every deceptive character written as its number, such as [U+202E].
 * @param {unknown} text
 * @returns {string}
 */
export function visible(text) {
  return String(text).replace(DECEPTIVE, (found) => {
    const number = found.codePointAt(0) ?? 0;
    return `[U+${number.toString(16).toUpperCase().padStart(4, "0")}]`;
  });
}

/**
 * The beginning of a text.
 * @param {string} text
 * @param {number} most characters
 * @returns {string}
 */
export function shortened(text, most) {
  const characters = [...text.slice(0, most * 2 + 2)];
  return characters.length > most ? `${characters.slice(0, most - 1).join("")}…` : text;
}
