/** Plan templates: plans with parameters, to be submitted by name. */

import { get } from "./api.js";
import { CardPage } from "./card_page.js";
import { el, fill } from "./element.js";
import { idOf } from "./format.js";
import { nothing, problemBox } from "./notice.js";
import { payload } from "./payload.js";
import { hashOf } from "./router.js";
import { visible } from "./text.js";

/** @returns {CardPage} */
export function templatesPage() {
  return new CardPage({
    title: "Templates",
    read: async () => (await get("v1/templates")).templates,
    keyOf: (template) => template.name,
    card,
    empty: () => nothing("No templates", "The planner reads templates from a folder that its operator names."),
  });
}

/** @param {any} template */
function card(template) {
  const id = idOf(template.name);
  const place = el("div.stack");
  const details = el("details", {}, el("summary", {}, "Plan and parameters"), place);
  details.addEventListener("toggle", async () => {
    if (place.firstChild) return;
    try {
      const { plan, parameters_schema } = await get(`v1/templates/${encodeURIComponent(id)}`);
      fill(place, el("p.hint", {}, "Parameters"), payload(parameters_schema), el("p.hint", {}, "Plan"), payload(plan));
    } catch (problem) {
      fill(place, problemBox(problem));
    }
  });
  return [
    el(
      "div.card-head",
      {},
      el("h2", {}, visible(id)),
      el(
        "div.actions",
        {},
        el("a.button", { href: hashOf(["submit"], { template: id }), "aria-label": `Use the template ${id}` }, "Use"),
        el(
          "a.button.quiet",
          { href: hashOf(["tasks"], { template: id }), "aria-label": `Tasks of the template ${id}` },
          "Its tasks",
        ),
      ),
    ),
    template.description && el("p", {}, visible(template.description)),
    details,
  ];
}
