/**
 * The event stream of a task: it reads, and when the connection breaks it goes on after the last id that it saw, so
 * that nothing is lost or comes twice.
 */

import { TENANT_HEADER } from "./api.js";
import { parse } from "./json.js";
import { problemOf } from "./problem.js";
import { SseParser } from "./sse.js";
import { currentTenant } from "./tenant.js";

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 8_000;
const SILENCE_MS = 45_000; // the gateway says something every 15 seconds, if only that it is there
const FINAL = new Set([400, 404, 410]);

/**
 * @typedef {"connecting" | "live" | "broken" | "ended" | "refused"} Link
 * @typedef {object} Listener
 * @property {(events: any[]) => void} events told in order; what arrived together comes together
 * @property {() => void} reset forget all events: the history follows from the first
 * @property {(link: Link, problem?: Error) => void} link how the connection is
 */

/** Follows one task until it has ended, or `close` is called. `resume` goes on after the end, for a task retried. */
export class EventStream {
  /**
   * @param {string} path such as "v1/tasks/abc/events"
   * @param {Listener} listener
   */
  constructor(path, listener) {
    this._path = path;
    this._listener = listener;
    this._lastId = "";
    this._closing = new AbortController();
    this._following = false;
    this._wake = () => {};
    window.addEventListener("online", () => this._wake(), { signal: this._closing.signal });
  }

  /** Follow, unless that goes on already. */
  async resume() {
    if (this._following || this._closing.signal.aborted) return;
    this._following = true;
    let wait = FIRST_WAIT_MS;
    while (!this._closing.signal.aborted) {
      this._told("connecting");
      const before = this._lastId;
      const outcome = await this._once();
      if (outcome === "ended" || outcome === "refused") break;
      wait = this._lastId !== before ? FIRST_WAIT_MS : Math.min(wait * 2, LONGEST_WAIT_MS);
      await this._pause(wait * (0.5 + Math.random() / 2));
    }
    this._following = false;
  }

  /** Stop for good. */
  close() {
    this._closing.abort();
    this._wake();
  }

  /** @returns {Promise<Link>} how one connection went */
  async _once() {
    const connection = new AbortController();
    const watchdog = new Watchdog(() => connection.abort());
    /** @type {Record<string, string>} */
    const headers = { [TENANT_HEADER]: currentTenant(), accept: "text/event-stream" };
    if (this._lastId) headers["last-event-id"] = this._lastId;
    try {
      const signal = AbortSignal.any([connection.signal, this._closing.signal]);
      const response = await fetch(this._path, { headers, signal, cache: "no-store", redirect: "error" });
      if (response.status === 204) return this._told("ended");
      if (!response.ok) return await this._refused(response);
      this._told("live");
      return await this._read(response, watchdog);
    } catch {
      return this._told("broken");
    } finally {
      watchdog.stop();
      connection.abort();
    }
  }

  /**
   * @param {Response} response
   * @param {Watchdog} watchdog
   * @returns {Promise<Link>}
   */
  async _read(response, watchdog) {
    const parser = new SseParser(this._lastId);
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    const decoder = new TextDecoder();
    let last = "";
    for (;;) {
      const { done, value } = await reader.read();
      watchdog.feed();
      const messages = parser.feed(done ? decoder.decode() : decoder.decode(value, { stream: true }));
      last = messages.at(-1)?.event ?? last;
      if (messages.length && !this._closing.signal.aborted) this._deliver(messages);
      // A stream that ends by itself ends with the task; one that was cut tells nothing, and is asked again.
      if (done) return this._told(last === "task_finished" ? "ended" : "broken");
    }
  }

  /** @param {import("./sse.js").Message[]} messages */
  _deliver(messages) {
    /** @type {any[]} */
    let events = [];
    for (const { event, data, id } of messages) {
      if (event === "watch_failed") continue;
      if (event === "stream_reset") {
        events = [];
        this._lastId = "";
        this._listener.reset();
      } else if (id !== this._lastId) {
        this._lastId = id;
        events.push(parse(data));
      }
    }
    if (events.length) this._listener.events(events);
  }

  /**
   * @param {Response} response
   * @returns {Promise<Link>}
   */
  async _refused(response) {
    const body = await response.json().catch(() => undefined);
    return this._told(FINAL.has(response.status) ? "refused" : "broken", problemOf(response.status, body));
  }

  /**
   * @param {Link} link
   * @param {Error} [problem]
   * @returns {Link}
   */
  _told(link, problem) {
    if (!this._closing.signal.aborted) this._listener.link(link, problem);
    return link;
  }

  /** @param {number} milliseconds */
  _pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this._wake = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }
}

/** Barks when nothing was heard for long. */
class Watchdog {
  /** @param {() => void} bark */
  constructor(bark) {
    this._bark = bark;
    this._timer = 0;
    this.feed();
  }

  feed() {
    clearTimeout(this._timer);
    this._timer = setTimeout(this._bark, SILENCE_MS);
  }

  stop() {
    clearTimeout(this._timer);
  }
}
