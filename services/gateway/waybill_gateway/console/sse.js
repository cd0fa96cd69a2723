/** Server-Sent Events: the format alone. Text goes in as it arrives, whole messages come out. */

/**
 * @typedef {{id: string, event: string, data: string}} Message
 */

/** Parses one stream, as the HTML standard says. */
export class SseParser {
  /** @param {string} [lastId] the id that holds until the stream names another */
  constructor(lastId = "") {
    this.lastId = lastId;
    this._rest = "";
    this._event = "";
    this._id = lastId;
    /** @type {string[]} */
    this._data = [];
    this._begun = false;
  }

  /**
   * @param {string} text the next part of the stream, cut anywhere
   * @returns {Message[]} the messages that it completes
   */
  feed(text) {
    if (!this._begun && text) {
      this._begun = true;
      if (text.startsWith("\ufeff")) text = text.slice(1);
    }
    const whole = this._rest + text;
    // A carriage return at the very end may be the first half of a line end.
    const usable = whole.endsWith("\r") ? whole.length - 1 : whole.length;
    const lines = whole.slice(0, usable).split(/\r\n|\n|\r/);
    this._rest = (lines.pop() ?? "") + whole.slice(usable);
    const messages = [];
    for (const line of lines) {
      const message = line === "" ? this._dispatched() : this._field(line);
      if (message) messages.push(message);
    }
    return messages;
  }

  /**
   * @param {string} line
   * @returns {undefined}
   */
  _field(line) {
    if (line.startsWith(":")) return;
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "event") this._event = value;
    else if (name === "data") this._data.push(value);
    else if (name === "id" && !value.includes("\0")) this._id = value;
  }

  /** @returns {Message | undefined} */
  _dispatched() {
    this.lastId = this._id;
    const [event, data] = [this._event || "message", this._data];
    [this._event, this._data] = ["", []];
    return data.length ? { id: this.lastId, event, data: data.join("\n") } : undefined;
  }
}
