/** Links of untrusted texts: only addresses that do nothing but lead somewhere become links. */

import { el } from "./element.js";
import { visible } from "./text.js";

const PROTOCOLS = new Set(["http:", "https:", "mailto:"]);

/**
 * @param {string} address
 * @returns {string | undefined} the whole address, if it may be followed
 */
export function safeAddress(address) {
  // A browser drops white space and controls inside an address; what needs that is up to no good.
  if (/[\u0000-\u0020\u007f-\u00a0\u2028\u2029]/.test(address)) return undefined;
  try {
    const url = new URL(address);
    return PROTOCOLS.has(url.protocol) && !url.username && !url.password ? url.href : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A link that leaves nothing behind, or what it said as text.
 * @param {string} address
 * @param {import("./element.js").Child[]} content
 * @returns {import("./element.js").Child}
 */
export function safeLink(address, content) {
  const href = safeAddress(address);
  if (!href) return [content, el("span.unlinked", {}, ` (${visible(address)})`)];
  const shown = { href, rel: "noopener noreferrer", target: "_blank", title: visible(href) };
  return el("a", shown, content);
}
