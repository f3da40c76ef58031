"""A person at JupyterLab, in a real browser, for tests."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

NAMES = ("chromium", "google-chrome")  # .ci/run looks for the same
PATIENCE = 300_000  # milliseconds, for what takes seconds on a machine with little else to do


def chromium() -> str | None:
    """The browser of this machine, where there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Person:
    """Someone at a browser that reaches this machine and nothing else, with a camera."""

    def __init__(self, browser: Browser, pictures: Path, name: str) -> None:
        self.context: BrowserContext = browser.new_context(viewport={"width": 1280, "height": 800})
        self.context.set_default_timeout(PATIENCE)
        self.context.route("**/*", self._stay_here)
        self.page: Page = self.context.new_page()
        self.asked_elsewhere: list[str] = []
        self._pictures, self._name, self._taken = pictures, name, 0

    def _stay_here(self, route: Route) -> None:
        host = urlsplit(route.request.url).hostname
        if host in (None, "127.0.0.1", "localhost"):
            route.continue_()
        else:
            self.asked_elsewhere.append(route.request.url)
            route.abort()

    def open(self, address: str) -> None:
        """Goes to JupyterLab, and waits until it can be used."""
        self.page.goto(address)
        self.wait_for_jupyterlab()

    def wait_for_jupyterlab(self) -> None:
        """Waits until JupyterLab can be used."""
        expect(self.page.locator("#jp-MainMenu")).to_be_visible()
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)

    def wait_for_the_kernel(self) -> None:
        """Waits until the circle beside the kernel's name says that it is idle."""
        circle = self.page.locator(".jp-NotebookPanel .jp-Notebook-ExecutionIndicator")
        expect(circle.first).to_have_attribute("data-status", "idle")

    def choose(self, menu: str, *entries: str) -> None:
        """Clicks on an entry of JupyterLab's menu, or of a menu in it."""
        self.page.get_by_role("menubar").get_by_role("menuitem", name=menu, exact=True).click()
        for entry in entries:  # one that opens a menu has no role
            self.page.locator(f".lm-Menu-itemLabel:text-is('{entry}')").first.click()

    def picture(self, of: str, part: Locator | None = None) -> None:
        """Keeps what the page looks like now, with `part` of it in the upper half."""
        self._taken += 1
        if part:
            part.evaluate("part => part.scrollIntoView({block: 'start'})")
        self.page.screenshot(path=self._pictures / f"{self._name}-{self._taken}-{of}.png")


CARDS = ".jp-Notebook .jp-OutputArea [role=status]"


def cards(page: Page) -> Locator:
    """The cards of the checks in the open notebook."""
    return page.locator(CARDS)


def card(page: Page, exercise: str) -> Locator:
    """The card of one exercise."""
    return cards(page).filter(has=page.locator(f"strong > code:text-is('{exercise}')"))
