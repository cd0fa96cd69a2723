/** The dialog that makes a schedule. */

import { send } from "./api.js";
import { openDialog } from "./dialog.js";
import { el } from "./element.js";
import { jsonField } from "./schema_form.js";
import { actionButton, say } from "./notice.js";

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
  const spec = jsonField(
    "What is submitted",
    "spec",
    { goal: "What is a tide?" },
    true,
    "As JSON: a goal, a plan, or a template with parameters.",
  );
  const create = async () => {
    const minutes = Number(interval.input.value);
    await send("v1/schedules", {
      id: id.input.value.trim(),
      spec: spec.read(),
      ...(cron.input.value.trim() ? { cron: cron.input.value.trim() } : {}),
      ...(interval.input.value.trim() ? { interval_ms: Math.round(minutes * 60_000) } : {}),
      ...(zone.input.value.trim() ? { time_zone: zone.input.value.trim() } : {}),
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
