/** Icons: paths on a grid of 16, stroked in the colour of the text around them. */

import { svg } from "./element.js";

/** @type {Record<string, string>} */
const PATHS = {
  succeeded: "M3.5 8.5l3 3 6-7",
  failed: "M4 4l8 8M12 4l-8 8",
  running: "M5.5 3.5l7 4.5-7 4.5z",
  paused: "M5.5 3.5v9M10.5 3.5v9",
  waiting: "M5.5 6a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.8M8 12.6v.2",
  planning: "M3 4h4M3 8h4M3 12h4M10 4l3 4-3 4",
  scheduled: "M8 4.5V8l2.5 1.5M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0z",
  ready: "M4 8h7M8 5l3 3-3 3",
  pending: "M4 8h.2M8 8h.2M12 8h.2",
  backoff: "M12.5 6A5 5 0 1 0 13 8.5M12.8 3v3.2H9.6",
  cancelled: "M3.5 8h9",
  cancelling: "M3.5 8h9M8 3v2M8 11v2",
  skipped: "M4 4l4 4-4 4M9 4l4 4-4 4",
  unknown: "M8 3v6M8 12v.2",
  sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9",
  moon: "M13 9.6A5.5 5.5 0 0 1 6.4 3a5.5 5.5 0 1 0 6.6 6.6z",
  auto: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11M8 5.5h4.8M8 8h5.5M8 10.5h4.8",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  fit: "M3 6V3h3M10 3h3v3M13 10v3h-3M6 13H3v-3",
  close: "M4 4l8 8M12 4l-8 8",
  help: "M5.5 6a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.8M8 12.6v.2",
  stack: "M2.5 5L8 2l5.5 3L8 8zM2.5 8L8 11l5.5-3M2.5 11L8 14l5.5-3",
};

/**
 * @param {string} name
 * @param {string} [label] what it says to those who do not see it; without one it says nothing
 * @returns {SVGElement}
 */
export function icon(name, label) {
  const named = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return svg("svg.icon", { viewBox: "0 0 16 16", focusable: "false", ...named }, iconPath(name));
}

/**
 * @param {string} name
 * @returns {SVGElement} the path alone, for a drawing of its own
 */
export function iconPath(name) {
  return svg("path", { d: PATHS[name] ?? PATHS.unknown });
}
