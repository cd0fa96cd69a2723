"""A page of the console in a real browser, which notices whatever a page must never do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import BrowserContext, ConsoleMessage, Dialog, Locator, Page, Request, Response, expect

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WORST_MS = 30_000
"""Longest that a page may take for anything before a test calls it hung. Nothing is measured."""
_STATUS = re.compile(r"the server responded with a status of (\d+)")
_CUT = re.compile(r"net::ERR_(CONNECTION|INCOMPLETE|EMPTY|SOCKET|NETWORK)")

expect.set_options(timeout=WORST_MS)


@dataclass
class Console:
    """One page of one browser context, and all that it did."""

    page: Page
    url: str
    refusals: set[int] = field(default_factory=set)
    """Statuses that a test provokes."""
    cuts: bool = False
    """Whether a test cuts the page's connections."""
    requests: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        """Notice everything, in every page that opens."""
        context.on("request", lambda request: self._asked(request))
        context.on("page", lambda page: self.faults.append(f"opened {page.url}") if page is not self.page else None)
        context.on("console", lambda message: self._said(message))
        context.on("dialog", self._dialog)
        context.on("weberror", lambda error: self.faults.append(f"raised {error.error}"))
        context.on("response", lambda response: self._answered(response))

    async def use_tenant(self, tenant: str) -> None:
        """Have the page remember a tenant, as if it had been chosen before."""
        remember = f"localStorage.setItem('waybill.tenant', '{tenant}')"
        await self.page.add_init_script(f"if (location.protocol === 'http:' && !localStorage.length) {remember}")

    async def open(self, where: str = "") -> None:
        """Go to a place such as `#/tasks`."""
        await self.page.goto(f"{self.url}/{where}")

    async def open_task(self, task: str, query: str = "") -> None:
        """Go to a task's page and wait until it is shown."""
        await self.open(f"#/{task}{query}")
        await expect(self.page.locator(".task-head h1")).not_to_be_empty()

    def button(self, name: str) -> Locator:
        """The button of this name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def tab(self, name: str) -> Locator:
        """The tab of this name."""
        return self.page.get_by_role("tab", name=name, exact=True)

    def node(self, step: str) -> Locator:
        """The box of a step in the graph."""
        return self.page.locator(f'.node[data-id="{step}"]')

    async def expect_state(self, state: str) -> None:
        """Wait until the head of the task's page shows this state."""
        await expect(self.page.locator(".task-head .badge").first).to_have_text(state)

    def assert_clean(self) -> None:
        """Nothing ran that should not, and nothing was asked of anybody but the gateway."""
        assert self.faults == []
        elsewhere = [url for url in self.requests if not url.startswith((f"{self.url}/", f"blob:{self.url}/"))]
        assert elsewhere == []

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.refusals:
            self.faults.append(f"{response.status} from {response.url}")

    def _said(self, message: ConsoleMessage) -> None:
        status = _STATUS.search(message.text)
        is_provoked = (status and int(status[1]) in self.refusals) or (self.cuts and _CUT.search(message.text))
        if message.type in ("error", "warning") and not is_provoked:
            self.faults.append(f"console: {message.text}")

    async def _dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        await dialog.dismiss()
