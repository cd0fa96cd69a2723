/** The panel of a step: what goes in, what comes out, what it streams, and how its attempts went. */

import { get } from "./api.js";
import { effectList } from "./effect_list.js";
import { el, fill } from "./element.js";
import { clock, count, duration, idOf, money } from "./format.js";
import { icon } from "./icon.js";
import { problemBox } from "./notice.js";
import { payload } from "./payload.js";
import { badge } from "./states.js";
import { visible } from "./text.js";

const TITLES = { attempts: "Attempts", calls: "Model calls", effects: "Effects" };

/** Shows one step, and is kept up to date. Parts change only when what they show does. */
export class StepPanel {
  /**
   * @param {import("./task_source.js").TaskSource} source
   * @param {string} name
   * @param {() => void} close
   */
  constructor(source, name, close) {
    this._source = source;
    this.name = name;
    this._path = `${source.path}/steps/${encodeURIComponent(name)}`;
    /** @type {Map<string, HTMLElement>} */
    this._parts = new Map();
    /** @type {Map<string, string>} */
    this._seen = new Map();
    /** @type {Map<string, string>} */
    this._loaded = new Map();
    /** @type {Map<string, any>} */
    this._values = new Map();
    /** How often a person decided about an effect here. */
    this._decisions = 0;
    this.title = el("h2", { tabindex: "-1" }, visible(name));
    const shut = el(
      "button.quiet.square",
      { type: "button", "aria-label": "Close the step", click: close },
      icon("close"),
    );
    const parts = ["facts", "failure", "text", "output", "input", "attempts", "calls", "effects"];
    for (const part of parts) this._parts.set(part, el("div"));
    this.element = el(
      "aside.panel",
      { "aria-label": `Step ${name}` },
      el("div.panel-head", {}, this.title, shut),
      ...this._parts.values(),
    );
    this.element.addEventListener("keydown", (event) => {
      if (/** @type {KeyboardEvent} */ (event).key === "Escape") close();
    });
  }

  /** Show what is known now. */
  update() {
    const step = this._source.steps.find((candidate) => candidate.name === this.name);
    if (!step) {
      this._show("facts", "absent", () => el("p.hint", {}, "The plan has no such step, or none yet."));
      return;
    }
    const told = step.told;
    this.tick();
    const failure = step.failure ?? told.failure;
    this._show(
      "failure",
      JSON.stringify(failure ?? null),
      () =>
        failure &&
        el(
          "div.problem",
          {},
          icon("failed"),
          el("p", {}, visible(failure.message), " ", el("code.reason", {}, visible(failure.reason))),
        ),
    );
    this._streamed(step.live?.text);
    this._value("output", "Output", told.output);
    this._value("input", "Input", told.input);
    const ended = `${step.attempt} ${step.state}`;
    const [own, isThere] = [this._path, step.attempt > 0];
    this._load("attempts", isThere && ended, `${own}/attempts`, (found) => attemptTable(found));
    this._load("calls", isThere && `${ended} ${step.tokens} ${step.cost}`, `${own}/modelCalls`, (found) =>
      found.map(callBox),
    );
    this._load("effects", isThere && `${ended} ${this._decisions}`, `${this._source.path}/effects`, (found) =>
      this._effects(found),
    );
  }

  /** What changes with time alone. */
  tick() {
    const step = this._source.steps.find((candidate) => candidate.name === this.name);
    if (!step) return;
    const { live, told } = step;
    const running = step.state === "running" && live?.startTime ? Date.now() - Date.parse(live.startTime) : 0;
    const facts = [
      ["Agent", step.agent || "asks a person"],
      ["Attempt", step.attempt ? count(step.attempt) : "none yet"],
      (step.runMs > 0 || running > 0) && ["Ran", duration(step.runMs + running)],
      step.waitMs > 0 && ["Waited", duration(step.waitMs)],
      step.cost > 0 && ["Cost", money(step.cost)],
      step.tokens > 0 && ["Tokens", count(step.tokens)],
      (live?.worker || told.worker) && ["Worker", live?.worker || told.worker],
      step.state === "backoff" && live?.nextTime && ["Tries again", clock(live.nextTime)],
      told.depends_on.length > 0 && ["After", told.depends_on.join(", ")],
      told.when.length > 0 && ["Only when", told.when.join(" and ")],
      told.plan_revision > 1 && ["Since revision", count(told.plan_revision)],
    ].filter(Boolean);
    const message = step.message && step.state !== "waiting" ? step.message : "";
    const isFresh = !["running", "succeeded", "failed", "cancelled", "skipped"].includes(step.state);
    const waiting = isFresh ? (told.waiting_reason ?? "") : "";
    const fraction = step.state === "running" ? step.fraction : null;
    this._show("facts", JSON.stringify([step.state, told.dropped, facts, message, waiting, fraction]), () => [
      el(
        "div.state-row",
        {},
        badge(step.state),
        told.dropped && el("span.hint", {}, "dropped by a revision of the plan"),
      ),
      fraction !== null && el("progress", { max: 1, value: fraction, "aria-label": "Part done" }),
      message && el("p.message", {}, visible(message)),
      waiting && el("div.note", {}, icon("waiting"), el("p", {}, visible(waiting))),
      el(
        "dl.facts",
        {},
        facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, visible(value)))),
      ),
    ]);
  }

  /** @param {import("./streamed.js").StreamedText | undefined} text */
  _streamed(text) {
    const part = /** @type {HTMLElement} */ (this._parts.get("text"));
    if (!text?.value) return this._show("text", "", () => null);
    this._show("text", "shown", () =>
      section("Streamed text", el("p.hint", { "data-void": "" }), el("pre.payload.words.streamed", { tabindex: "0" })),
    );
    const shown = /** @type {HTMLElement} */ (part.querySelector("pre"));
    const isAtEnd = shown.scrollTop + shown.clientHeight >= shown.scrollHeight - 8;
    const value = visible(text.value);
    if (shown.textContent !== value) shown.textContent = value;
    if (isAtEnd) shown.scrollTop = shown.scrollHeight;
    shown.classList.toggle("void", text.isVoid);
    const hint = /** @type {HTMLElement} */ (part.querySelector("[data-void]"));
    hint.textContent = text.isVoid
      ? "This attempt did not end well: its text does not count."
      : text.isCut
        ? "The beginning is left out."
        : "";
    hint.hidden = hint.textContent === "";
  }

  /**
   * @param {string} part
   * @param {string} title
   * @param {any} value which may be large, so that it is compared only when it was read again
   */
  _value(part, title, value) {
    if (this._values.has(part) && this._values.get(part) === value) return;
    this._values.set(part, value);
    this._show(part, JSON.stringify(value ?? null), () => value !== undefined && section(title, payload(value)));
  }

  /**
   * @param {string} part
   * @param {string} seen
   * @param {() => import("./element.js").Child} make
   */
  _show(part, seen, make) {
    if (this._seen.get(part) === seen) return;
    this._seen.set(part, seen);
    fill(/** @type {HTMLElement} */ (this._parts.get(part)), make());
  }

  /**
   * @param {any[]} effects of the task
   * @returns {import("./element.js").Child}
   */
  _effects(effects) {
    const own = effects.filter((effect) => idOf(effect.step) === this.name);
    const decided = () => {
      this._decisions += 1;
    };
    return own.length > 0 && effectList(this._source, this._path, own, decided);
  }

  /**
   * Load a part again once what it depends on has changed.
   * @param {"attempts" | "calls" | "effects"} part
   * @param {string | false} version of what it depends on, if there can be anything yet
   * @param {string} path
   * @param {(found: any[]) => import("./element.js").Child} make
   */
  async _load(part, version, path, make) {
    if (version === false || this._loaded.get(part) === version) return;
    this._loaded.set(part, version);
    try {
      const found = (await get(path))[part];
      if (this._loaded.get(part) !== version) return;
      this._show(part, JSON.stringify(found), () => {
        const content = found.length > 0 && make(found);
        return content && section(TITLES[part], content);
      });
    } catch (problem) {
      this._show(part, "problem", () => problemBox(problem));
    }
  }
}

/**
 * @param {string} title
 * @param {...import("./element.js").Child} content
 */
function section(title, ...content) {
  return el("details.part", { open: true }, el("summary", {}, title), content);
}

/** @param {any[]} attempts */
function attemptTable(attempts) {
  const rows = attempts.map((attempt) =>
    el(
      "tr",
      {},
      el("td", {}, count(attempt.attempt)),
      el("td", {}, badge(attempt.state)),
      el("td.number", {}, duration(attempt.run_ms)),
      el(
        "td",
        {},
        visible(attempt.failure ? `${attempt.failure.reason}: ${attempt.failure.message}` : (attempt.worker ?? "")),
      ),
    ),
  );
  const heads = ["#", "State", "Ran", "Failure or worker"].map((name) => el("th", { scope: "col" }, name));
  return el(
    "div.scroll",
    { tabindex: "0", role: "group", "aria-label": "Attempts" },
    el("table.compact", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows)),
  );
}

/** @param {any} call */
function callBox(call) {
  const { usage } = call;
  const numbers = `${count(usage.input_tokens)} in, ${count(usage.output_tokens)} out, ${money(usage.cost_microusd)}`;
  return el(
    "details.call",
    {},
    el(
      "summary",
      {},
      el("code", {}, visible(call.model)),
      ` ${numbers}`,
      call.state !== "settled" && el("span.hint", {}, ` ${visible(call.state)}`),
    ),
    call.prompt !== undefined && [el("p.hint", {}, "Prompt"), payload(call.prompt)],
    call.response !== undefined && [el("p.hint", {}, "Response"), payload(call.response)],
    call.prompt === undefined &&
      call.response === undefined &&
      el("p.hint", {}, "Prompts and responses are not kept here."),
  );
}
