/** The dialog that makes a schedule. */

import { send } from "./api.js";
import { openDialog } from "./dialog.js";
import { el } from "./element.js";
import { jsonField } from "./schema_form.js";
import { actionButton, say } from "./notice.js";
import { misfit } from "./problem.js";

/** @param {() => Promise<void>} done called once it was made */
export function scheduleForm(done) {
  const problems = el("div");
  const id = line("Name", "daily-report", "Lower-case letters, digits, _ and -");
  const cron = line("Cron expression", "30 8 * * MON-FRI", "Five fields; or an interval instead");
  const interval = line("Interval in minutes", "15", "Instead of a cron expression");
  const zone = line(
    "Time zone",
    Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC",
    "Of the cron expression; UTC if left out",
  );
  const overlap = choice("While an earlier task runs", ["skip", "queue", "cancel", "allow"]);
  const catchUp = choice("Firings that were missed", ["latest", "all", "none"]);
  const spec = jsonField(
    "What is submitted",
    "spec",
    { goal: "What is a tide?" },
    true,
    "As JSON: a goal, a plan, or a template with parameters.",
  );
  const create = async () => {
    const minutes = Number(interval.input.value || 0);
    if (!(minutes >= 0)) throw misfit("interval_ms", "must be a number of minutes");
    await send("v1/schedules", {
      id: id.input.value.trim(),
      spec: spec.read(),
      ...(cron.input.value.trim() ? { cron: cron.input.value.trim() } : {}),
      ...(minutes ? { interval_ms: Math.round(minutes * 60_000) } : {}),
      ...(zone.input.value.trim() ? { time_zone: zone.input.value.trim() } : {}),
      overlap_policy: overlap.select.value,
      catch_up_policy: catchUp.select.value,
    });
    say("The schedule was made");
    dialog.close();
    await done();
  };
  const dialog = openDialog(
    "New schedule",
    [
      el(
        "div.stack",
        {},
        id.field,
        cron.field,
        interval.field,
        zone.field,
        el("div.filter-fields", {}, overlap.field, catchUp.field),
        spec.element,
        problems,
        el("div.actions.end", {}, actionButton("button.primary", ["Create"], create, problems)),
      ),
    ],
    { wide: true },
  );
  id.input.focus();
}

let number = 0;

/**
 * @param {string} name
 * @param {string} placeholder
 * @param {string} hint
 */
function line(name, placeholder, hint) {
  const id = `schedule-${++number}`;
  const input = /** @type {HTMLInputElement} */ (
    el("input", { id, placeholder, autocomplete: "off", "aria-describedby": `${id}-hint` })
  );
  return {
    input,
    field: el("div.field", {}, el("label", { for: id }, name), input, el("p.hint", { id: `${id}-hint` }, hint)),
  };
}

/**
 * @param {string} name
 * @param {string[]} options the first is the default
 */
function choice(name, options) {
  const id = `schedule-${++number}`;
  const select = /** @type {HTMLSelectElement} */ (
    el(
      "select",
      { id },
      options.map((option) => el("option", {}, option)),
    )
  );
  return { select, field: el("div.field", {}, el("label", { for: id }, name), select) };
}
