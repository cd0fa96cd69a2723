/** What this gateway can do, by its own description, so that nothing is offered that is not there. */

import { get } from "./api.js";

/** @type {Promise<any> | undefined} */
let description;

/**
 * @param {string} path such as "/v1/templates"
 * @returns {Promise<boolean>}
 */
export async function routeExists(path) {
  description ??= get("openapi.json").catch(() => {
    description = undefined;
    return { paths: {} };
  });
  return path in (await description).paths;
}
