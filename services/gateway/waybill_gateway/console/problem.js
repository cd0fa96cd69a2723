/** Problems: what an API call that was refused says, with its reason and its fields. */

/** The reason of a form that was not sent. */
export const MISFIT = "INVALID_FORM";

/**
 * @typedef {{field: string, description: string}} Violation
 */

/** A call that did not succeed. `status` is 0 if no answer came. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {string} reason
   * @param {string} message
   * @param {Violation[]} [violations]
   */
  constructor(status, reason, message, violations = []) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.violations = violations;
  }

  /** Whether this server does not have what was asked for at all. */
  get absent() {
    return this.status === 501 || (this.status === 404 && this.reason === "ROUTE_NOT_FOUND");
  }

  /** Whether the same call may succeed later. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/**
 * The problem that a response or an event tells.
 * @param {number} status
 * @param {any} body problem details
 * @returns {Problem}
 */
export function problemOf(status, body) {
  const told = body && typeof body === "object" ? body : {};
  const reason = typeof told.reason === "string" ? told.reason : `HTTP_${status}`;
  const message = told.detail ?? told.title ?? `the gateway answered with status ${status}`;
  const violations = Array.isArray(told.violations) ? told.violations : [];
  return new Problem(status, reason, String(message), violations.map(violationOf));
}

/**
 * @param {any} told
 * @returns {Violation}
 */
function violationOf(told) {
  return { field: String(told?.field ?? ""), description: String(told?.description ?? "") };
}

/**
 * @param {string} field
 * @param {string} description
 * @returns {Problem} of a form that was not sent yet
 */
export function misfit(field, description) {
  return new Problem(400, MISFIT, "The form is not complete.", [{ field, description }]);
}
