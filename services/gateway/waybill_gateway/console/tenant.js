/** The tenant that all calls speak for. */

import { remember, remembered } from "./stored.js";

export const DEFAULT_TENANT = "default";
const VALID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

let current = VALID.test(remembered("tenant")) ? remembered("tenant") : DEFAULT_TENANT;

/** @returns {string} */
export function currentTenant() {
  return current;
}

/**
 * @param {string} name
 * @returns {boolean} whether a tenant can be called that; otherwise nothing changes
 */
export function chooseTenant(name) {
  if (!VALID.test(name)) return false;
  current = name;
  remember("tenant", name === DEFAULT_TENANT ? "" : name);
  return true;
}
