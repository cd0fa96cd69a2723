/** The field that chooses the tenant. */

import { el } from "./element.js";
import { chooseTenant, currentTenant } from "./tenant.js";

/**
 * @param {() => void} changed
 * @returns {HTMLElement}
 */
export function tenantField(changed) {
  const input = /** @type {HTMLInputElement} */ (
    el("input", {
      id: "tenant",
      value: currentTenant(),
      maxlength: 64,
      autocomplete: "off",
      spellcheck: "false",
      size: 12,
      autocapitalize: "none",
    })
  );
  const choose = () => {
    const name = input.value.trim() || "default";
    if (name === currentTenant()) return;
    const isValid = chooseTenant(name);
    input.setAttribute("aria-invalid", String(!isValid));
    input.setCustomValidity(isValid ? "" : "A letter or digit, then up to 63 letters, digits, '.', '_' and '-'.");
    input.reportValidity();
    if (isValid) changed();
  };
  input.addEventListener("input", () => input.setCustomValidity(""));
  input.addEventListener("change", choose);
  const form = el(
    "form.tenant",
    {
      submit: (event) => {
        event.preventDefault();
        choose();
      },
    },
    el("label", { for: "tenant" }, "Tenant"),
    input,
  );
  return form;
}
