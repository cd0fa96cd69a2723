/** What the browser remembers for this page. Without storage nothing is remembered, and all else works. */

/**
 * @param {string} name
 * @returns {string}
 */
export function remembered(name) {
  try {
    return localStorage.getItem(`waybill.${name}`) ?? "";
  } catch {
    return "";
  }
}

/**
 * @param {string} name
 * @param {string} value empty to forget
 */
export function remember(name, value) {
  try {
    if (value) localStorage.setItem(`waybill.${name}`, value);
    else localStorage.removeItem(`waybill.${name}`);
  } catch {
    // It is then chosen again next time.
  }
}
