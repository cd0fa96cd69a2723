/** The text that an attempt streams. Offsets count characters as the server does: by code points. */

const MOST_CHARACTERS = 1_000_000;

/** What one step has streamed so far. */
export class StreamedText {
  constructor() {
    this.value = "";
    this.length = 0;
    /** Whether it belongs to an attempt that did not end well. */
    this.isVoid = false;
    /** Whether the beginning was left out. */
    this.isCut = false;
  }

  /** Begin anew. */
  clear() {
    this.value = "";
    this.length = 0;
    this.isVoid = false;
    this.isCut = false;
  }

  /** What was streamed does not count any more. */
  void() {
    this.isVoid = this.value !== "";
  }

  /**
   * @param {string} text
   * @param {number} offset characters before it
   */
  write(text, offset) {
    if (offset === 0) this.clear();
    else if (offset < this.length) this._cutAt(offset);
    this.value += text;
    this.length = Math.max(offset, this.length) + lengthOf(text);
    if (this.value.length > MOST_CHARACTERS * 1.2) {
      this.value = this.value.slice(-MOST_CHARACTERS).replace(/^[\udc00-\udfff]/, "");
      this.isCut = true;
    }
  }

  /** @param {number} offset */
  _cutAt(offset) {
    const characters = [...this.value];
    const kept = Math.max(0, characters.length - (this.length - offset));
    this.value = characters.slice(0, kept).join("");
    this.length = offset;
  }
}

/**
 * @param {string} text
 * @returns {number} code points
 */
function lengthOf(text) {
  let pairs = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit >= 0xd800 && unit < 0xdc00) pairs += 1;
  }
  return text.length - pairs;
}
