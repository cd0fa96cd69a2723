/** The console: the frame around the pages, and which page is shown. */

import { agentsPage } from "./agents_page.js";
import { el, fill } from "./element.js";
import { icon } from "./icon.js";
import { lettersPage } from "./letters_page.js";
import { nothing } from "./notice.js";
import { here } from "./router.js";
import { schedulesPage } from "./schedules_page.js";
import { routeExists } from "./served.js";
import { listenForShortcuts, showHelp } from "./shortcuts.js";
import { SubmitPage } from "./submit_page.js";
import { TaskPage } from "./task_page.js";
import { TasksPage } from "./tasks_page.js";
import { templatesPage } from "./templates_page.js";
import { tenantField } from "./tenant_field.js";
import { themeSwitch } from "./theme.js";
import { UsagePage } from "./usage_page.js";

/**
 * @typedef {object} Page
 * @property {HTMLElement} element
 * @property {() => Promise<void>} open
 * @property {() => void} close
 * @property {() => void | Promise<void>} routed called when the address has changed within the page
 * @typedef {{name: string, make: () => Page, route?: string}} Place
 */

/** @type {Record<string, Place>} */
const PLACES = {
  tasks: { name: "Tasks", make: () => new TasksPage() },
  letters: { name: "Dead letters", make: lettersPage },
  agents: { name: "Agents", make: agentsPage },
  schedules: { name: "Schedules", make: schedulesPage, route: "/v1/schedules" },
  templates: { name: "Templates", make: templatesPage, route: "/v1/templates" },
  usage: { name: "Usage", make: () => new UsagePage() },
};

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const nav = /** @type {HTMLElement} */ (document.getElementById("places"));
const links = new Map(
  Object.entries(PLACES).map(([id, { name, route }]) => [
    id,
    el("a", { href: `#/${id}`, hidden: Boolean(route) }, name),
  ]),
);

/** @type {{key: string, page: Page} | null} */
let shown = null;

/** @param {string[]} path */
function pageFor([place, id]) {
  if (place === "tasks" && id) return new TaskPage(id);
  if (place === "submit") return new SubmitPage();
  return Object.hasOwn(PLACES, place ?? "") ? PLACES[place].make() : null;
}

/** Show the page that the address names. */
function route() {
  const { path } = here();
  if (!path.length) path.push("tasks");
  const key = path.join("/");
  for (const [id, link] of links) {
    if (id === path[0]) link.setAttribute("aria-current", path.length > 1 ? "true" : "page");
    else link.removeAttribute("aria-current");
  }
  if (shown?.key === key) return void shown.page.routed();
  show(path, key);
}

/**
 * @param {string[]} path
 * @param {string} key
 */
function show(path, key) {
  const isFirst = shown === null;
  shown?.page.close();
  const page = pageFor(path);
  if (!page) {
    shown = { key, page: { element: el("div"), open: async () => {}, close: () => {}, routed: () => {} } };
    fill(
      main,
      el(
        "div.page",
        {},
        el("h1", { tabindex: "-1" }, "Not here"),
        nothing("There is no such page", el("a", { href: "#/tasks" }, "Go to the tasks")),
      ),
    );
  } else {
    shown = { key, page };
    fill(main, page.element);
    void page.open();
  }
  window.scrollTo(0, 0);
  // After a link the focus goes to the new page, as it would with a page of its own.
  if (!isFirst) /** @type {HTMLElement | null} */ (main.querySelector("h1"))?.focus({ preventScroll: true });
}

/** Begin anew with another tenant. */
function begin() {
  shown?.page.close();
  shown = null;
  if (here().path.length > 1) location.hash = "#/tasks";
  else route();
}

function start() {
  fill(nav, [...links.values()], el("a", { href: "docs" }, "API"));
  fill(
    /** @type {HTMLElement} */ (document.getElementById("tools")),
    tenantField(begin),
    themeSwitch(),
    el(
      "button.quiet.square",
      { type: "button", "aria-label": "Help with keys", title: "Keys (?)", click: showHelp },
      icon("help"),
    ),
  );
  // The address belongs to the pages, so the link that skips to the content must not change it.
  document.getElementById("skip")?.addEventListener("click", (event) => {
    event.preventDefault();
    /** @type {HTMLElement | null} */ (main.querySelector("h1"))?.focus();
  });
  listenForShortcuts();
  window.addEventListener("hashchange", route);
  route();
  for (const [id, { route: needed }] of Object.entries(PLACES))
    if (needed) void routeExists(needed).then((exists) => links.get(id)?.toggleAttribute("hidden", !exists));
}

start();
