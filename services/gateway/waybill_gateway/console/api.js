/** The gateway's HTTP API, as anyone may call it. Addresses are relative, so that it also works behind a prefix. */

import { parse } from "./json.js";
import { Problem, problemOf } from "./problem.js";
import { currentTenant } from "./tenant.js";

export const TENANT_HEADER = "x-waybill-tenant";
const TIMEOUT_MS = 30_000;

/**
 * @param {string} path below the page, such as "v1/tasks"
 * @param {Record<string, string | number | string[] | undefined>} [query] empty values are left out
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>} the answer. Raises `Problem`.
 */
export function get(path, query = {}, signal) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    for (const item of [value].flat()) if (item !== undefined && item !== "") given.append(name, String(item));
  return call("GET", given.size ? `${path}?${given}` : path, undefined, signal);
}

/**
 * A call that changes something. It names a request, and is repeated under that name if its answer is lost, so that
 * it takes effect once.
 * @param {string} path
 * @param {Record<string, any>} [body]
 * @param {"POST" | "PUT" | "DELETE"} [method]
 * @returns {Promise<any>} the answer. Raises `Problem`.
 */
export async function send(path, body = {}, method = "POST") {
  const named = { "idempotency-key": `console-${crypto.getRandomValues(new Uint32Array(4)).join("-")}` };
  const asked = { ...(method === "DELETE" ? {} : { body: JSON.stringify(body) }), headers: named };
  try {
    return await call(method, path, asked);
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.status !== 0) throw problem;
    return await call(method, path, asked);
  }
}

/**
 * All pages of a listing.
 * @param {string} path
 * @param {string} field that holds the items of a page
 * @param {number} pageSize
 * @param {number} mostPages
 * @param {(items: any[]) => void} [seen] told of what is there after each page but the last
 * @returns {Promise<any[]>}
 */
export async function listAll(path, field, pageSize, mostPages, seen = () => {}) {
  const items = [];
  let token = "";
  for (let page = 0; page < mostPages; page++) {
    const answer = await get(path, { page_size: pageSize, page_token: token });
    items.push(...answer[field]);
    token = answer.next_page_token ?? "";
    if (!token) break;
    seen(items);
  }
  return items;
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{body?: string, headers?: Record<string, string>}} [asked]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
async function call(method, path, asked = {}, signal) {
  /** @type {Record<string, string>} */
  const headers = { [TENANT_HEADER]: currentTenant(), accept: "application/json", ...asked.headers };
  if (asked.body !== undefined) headers["content-type"] = "application/json";
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const ended = signal ? AbortSignal.any([signal, limit]) : limit;
  let response, text;
  try {
    response = await fetch(path, { method, headers, body: asked.body, signal: ended, redirect: "error" });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "NO_ANSWER", "The gateway does not answer. Is it running, and is the network up?");
  }
  const body = decoded(text);
  if (!response.ok) throw problemOf(response.status, body);
  return body;
}

/**
 * @param {string} text
 * @returns {any} undefined if it is no JSON
 */
function decoded(text) {
  try {
    return text ? parse(text) : {};
  } catch {
    return undefined;
  }
}
