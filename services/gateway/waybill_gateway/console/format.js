/** Numbers and times as people read them. */

const MONEY = new Intl.NumberFormat("en", { style: "currency", currency: "USD", maximumFractionDigits: 2 });
const SMALL_MONEY = new Intl.NumberFormat("en", { style: "currency", currency: "USD", maximumSignificantDigits: 2 });
const COUNT = new Intl.NumberFormat("en");
const DAY_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

/**
 * @param {number} number
 * @returns {string} such as "12,345"
 */
export function count(number) {
  return COUNT.format(number);
}

/**
 * @param {number} microusd millionths of a US dollar
 * @returns {string} such as "$0.0042"
 */
export function money(microusd) {
  const dollars = microusd / 1e6;
  return Math.abs(dollars) >= 0.1 || dollars === 0 ? MONEY.format(dollars) : SMALL_MONEY.format(dollars);
}

/**
 * @param {number} milliseconds
 * @returns {string} such as "850 ms", "12.4 s", "3 min 20 s", "2 h 5 min"
 */
export function duration(milliseconds) {
  const ms = Math.max(0, Math.round(milliseconds));
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} days`;
}

/**
 * @param {string} time RFC 3339
 * @param {number} [now] epoch milliseconds
 * @returns {string} such as "5 s ago", "in 3 h"
 */
export function ago(time, now = Date.now()) {
  const away = Date.parse(time) - now;
  const seconds = Math.round(Math.abs(away) / 1000);
  if (seconds < 2) return "now";
  const [amount, unit] =
    seconds < 60
      ? [seconds, "s"]
      : seconds < 3600
        ? [Math.floor(seconds / 60), "min"]
        : seconds < 172_800
          ? [Math.floor(seconds / 3600), "h"]
          : [Math.floor(seconds / 86_400), "days"];
  return away < 0 ? `${amount} ${unit} ago` : `in ${amount} ${unit}`;
}

/**
 * @param {string} time RFC 3339
 * @returns {string} in the reader's own zone
 */
export function moment(time) {
  const parsed = new Date(time);
  return Number.isNaN(parsed.getTime()) ? time : DAY_TIME.format(parsed);
}

/**
 * @param {string} time RFC 3339
 * @returns {string} time of day in the reader's own zone
 */
export function clock(time) {
  const parsed = new Date(time);
  return Number.isNaN(parsed.getTime()) ? time : CLOCK.format(parsed);
}

/**
 * @param {string} name resource name, such as "tasks/abc"
 * @returns {string} its last part
 */
export function idOf(name) {
  return name.slice(name.lastIndexOf("/") + 1);
}
