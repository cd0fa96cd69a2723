/** The graph of a plan, drawn live: boxes that show what their steps do, and lines for what waits for what. */

import { el, fill, svg } from "./element.js";
import { folded } from "./folding.js";
import { count } from "./format.js";
import { GraphNode, NODE } from "./graph_node.js";
import { icon } from "./icon.js";
import { layout } from "./layout.js";
import { PanZoom } from "./panzoom.js";
import { hasEnded } from "./states.js";

const HELP = "Arrow keys move along the graph, Enter opens a step, plus and minus zoom, 0 shows all.";

/** A graph that can be walked with the keyboard: one box is in the order of tabs, arrows go to its neighbours. */
export class GraphView {
  /** @param {(members: string[]) => void} pick called with the steps of the box that was chosen */
  constructor(pick) {
    this._pick = pick;
    /** @type {Map<string, GraphNode>} */
    this._nodes = new Map();
    /** @type {{route: import("./layout.js").Route, path: SVGElement}[]} */
    this._edges = [];
    /** @type {import("./layout.js").Layout} */
    this._layout = layout([], NODE);
    this._shape = "";
    this._current = "";
    this._isNew = false;
    this._content = svg("g");
    this._frame = svg(
      "svg.graph-frame",
      { role: "group", tabindex: "-1", "aria-label": `Graph of the plan. ${HELP}` },
      this._content,
    );
    this._hint = el("p.hint.graph-hint");
    this._pan = new PanZoom(this._frame, this._content);
    this._frame.addEventListener("keydown", (event) => this._pressed(/** @type {KeyboardEvent} */ (event)));
    this._frame.addEventListener("focusin", (event) => this._focused(/** @type {Element} */ (event.target)));
    this.element = el("div.graph", {}, this._frame, this._buttons(), this._hint);
    this._resized = new ResizeObserver(() => this._pan.isHeld || this._begin());
    this._resized.observe(this.element);
  }

  /** Stop watching the size. */
  close() {
    this._resized.disconnect();
  }

  /**
   * @param {import("./task_source.js").StepView[]} steps
   * @param {string} chosen name of the step whose panel is open
   */
  update(steps, chosen) {
    const shape = steps.map((step) => `${step.name} ${step.agent} ${step.depends_on.join(" ")}`).join("\n");
    if (shape !== this._shape) this._draw(steps, shape);
    const byName = new Map(steps.map((step) => [step.name, step]));
    for (const node of this._nodes.values()) {
      const members = node.group.members.flatMap((name) => byName.get(name) ?? []);
      node.update(
        members,
        members.some((step) => step.name === chosen),
      );
    }
    if (this._isNew && !this._pan.isHeld) this._begin();
    this._isNew = false;
    for (const { route, path } of this._edges) {
      const [from, to] = [this._state(route.from), this._state(route.to)];
      path.setAttribute("class", `edge ${to === "running" ? "flowing" : hasEnded(from) ? "passed" : "open"}`);
    }
  }

  /** @param {string} id */
  _state(id) {
    return this._nodes.get(id)?.element.dataset.state ?? "";
  }

  /**
   * @param {import("./task_source.js").StepView[]} steps
   * @param {string} shape
   */
  _draw(steps, shape) {
    this._shape = shape;
    const hadFocus = this._frame.contains(document.activeElement);
    const groups = folded(steps);
    this._layout = layout(groups, NODE);
    this._nodes = new Map(groups.map((group) => [group.id, new GraphNode(group, () => this._pick(group.members))]));
    for (const [id, node] of this._nodes) {
      const place = this._layout.places.get(id);
      node.element.setAttribute("transform", `translate(${place?.x ?? 0} ${(place?.y ?? 0) - NODE.height / 2})`);
      node.element.dataset.id = id;
    }
    this._edges = this._layout.routes.map((route) => ({
      route,
      path: svg("path.edge", { d: curve(route.points), fill: "none" }),
    }));
    const inOrder = this._layout.layers.flat().flatMap((id) => this._nodes.get(id)?.element ?? []);
    this._content.replaceChildren(
      svg(
        "g",
        { "aria-hidden": "true" },
        this._edges.map(({ path }) => path),
      ),
      ...inOrder,
    );
    const isFolded = groups.length < steps.length;
    fill(
      this._hint,
      isFolded &&
        `${count(steps.length)} steps, folded into ${count(groups.length)} boxes. Choose a box to list its steps.`,
    );
    this._enter(this._nodes.has(this._current) ? this._current : (this._layout.layers[0]?.[0] ?? ""), hadFocus);
    this._isNew = true;
  }

  /** Show what matters now: where something runs, waits or failed, if not all of it can be read at once. */
  _begin() {
    const height = this._pan.heightFor(this._layout.width, this._layout.height);
    this.element.style.setProperty("--graph-height", `${height}px`);
    const matters = ["running", "waiting", "failed"].flatMap((state) =>
      [...this._nodes.keys()].filter((id) => this._state(id) === state),
    );
    const place = this._layout.places.get(matters[0] ?? this._current);
    this._pan.begin(this._layout.width, this._layout.height, { x: (place?.x ?? 0) + NODE.width / 2, y: place?.y ?? 0 });
  }

  _fit() {
    this._pan.fit(this._layout.width, this._layout.height);
  }

  /**
   * @param {string} id the box that is in the order of tabs from now on
   * @param {boolean} focus
   */
  _enter(id, focus) {
    this._nodes.get(this._current)?.element.setAttribute("tabindex", "-1");
    this._current = id;
    const element = this._nodes.get(id)?.element;
    element?.setAttribute("tabindex", "0");
    if (focus) element?.focus({ preventScroll: true });
  }

  /** @param {Element} target */
  _focused(target) {
    const id = /** @type {SVGElement} */ (target).dataset?.id;
    const place = id === undefined ? undefined : this._layout.places.get(id);
    if (id === undefined || !place) return;
    this._enter(id, false);
    this._pan.reveal({ x: place.x, y: place.y - NODE.height / 2, width: NODE.width, height: NODE.height });
  }

  /** @param {KeyboardEvent} event */
  _pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { layers, places, routes } = this._layout;
    const place = places.get(this._current);
    const layer = layers[place?.layer ?? 0] ?? [];
    const nearest = (/** @type {string[]} */ ids) =>
      ids.sort((a, b) => Math.abs(yOf(a) - (place?.y ?? 0)) - Math.abs(yOf(b) - (place?.y ?? 0)))[0];
    const yOf = (/** @type {string} */ id) => places.get(id)?.y ?? 0;
    const after = () => routes.filter(({ from }) => from === this._current).map(({ to }) => to);
    const before = () => routes.filter(({ to }) => to === this._current).map(({ from }) => from);
    /** @type {Record<string, () => string | undefined>} */
    const moves = {
      ArrowRight: () => nearest(after()) ?? nearest([...(layers[(place?.layer ?? 0) + 1] ?? [])]),
      ArrowLeft: () => nearest(before()) ?? nearest([...(layers[(place?.layer ?? 0) - 1] ?? [])]),
      ArrowUp: () => layer[(place?.row ?? 0) - 1],
      ArrowDown: () => layer[(place?.row ?? 0) + 1],
      Home: () => layers[0]?.[0],
      End: () => layers.at(-1)?.at(-1),
    };
    if (event.key in moves) {
      const next = moves[event.key]();
      if (next !== undefined) this._enter(next, true);
    } else if (event.key === "Enter" || event.key === " ") {
      const node = this._nodes.get(this._current);
      if (node) this._pick(node.group.members);
    } else if (event.key === "+") this._pan.zoom(1.25);
    else if (event.key === "-") this._pan.zoom(0.8);
    else if (event.key === "0") this._fit();
    else return;
    event.preventDefault();
  }

  /** Give the focus to the box of a step. @param {string} name */
  focusOn(name) {
    for (const [id, node] of this._nodes) if (node.group.members.includes(name)) this._enter(id, true);
  }

  _buttons() {
    const button = (/** @type {string} */ label, /** @type {string} */ picture, /** @type {() => void} */ act) =>
      el("button.square", { type: "button", "aria-label": label, title: label, click: act }, icon(picture));
    return el(
      "div.graph-tools",
      {},
      button("Zoom in", "plus", () => this._pan.zoom(1.25)),
      button("Zoom out", "minus", () => this._pan.zoom(0.8)),
      button("Show all", "fit", () => this._fit()),
    );
  }
}

/**
 * @param {[number, number][]} points
 * @returns {string} a path that leaves and arrives level
 */
function curve(points) {
  const parts = [`M${points[0].join(" ")}`];
  for (let at = 1; at < points.length; at++) {
    const [[x0, y0], [x1, y1]] = [points[at - 1], points[at]];
    const middle = (x1 - x0) / 2;
    parts.push(y0 === y1 ? `L${x1} ${y1}` : `C${x0 + middle} ${y0} ${x1 - middle} ${y1} ${x1} ${y1}`);
  }
  return parts.join("");
}
