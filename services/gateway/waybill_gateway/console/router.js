/** Where in the console somebody is: kept in the address after "#", so that it can be linked and gone back to. */

/**
 * @typedef {{path: string[], query: URLSearchParams}} Route
 */

/**
 * @param {string} hash such as "#/tasks/abc?step=find"
 * @returns {Route}
 */
export function parseHash(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  return { path: path.split("/").filter(Boolean).map(decodedPart), query: new URLSearchParams(query) };
}

/**
 * @param {string[]} path
 * @param {URLSearchParams | Record<string, string | string[]>} [query] empty values are left out
 * @returns {string}
 */
export function hashOf(path, query = {}) {
  const given = new URLSearchParams();
  const entries = query instanceof URLSearchParams ? [...query] : Object.entries(query);
  for (const [name, value] of entries) for (const item of [value].flat()) if (item) given.append(name, item);
  const where = `#/${path.map(encodeURIComponent).join("/")}`;
  return given.size ? `${where}?${given}` : where;
}

/** @returns {Route} where one is now */
export function here() {
  return parseHash(location.hash);
}

/**
 * Change the query of the place where one is, without a new entry in the history.
 * @param {Record<string, string>} changes empty to take out
 */
export function adjust(changes) {
  const { path, query } = here();
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  history.replaceState(null, "", hashOf(path, query));
}

/**
 * @param {string} part
 * @returns {string}
 */
function decodedPart(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
