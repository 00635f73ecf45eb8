"""The status page on a real port, opened in a real Chromium.

Without Chromium these tests are skipped; with FLEET_SYNC_TEST_TOOLS=required they fail.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import anyio.abc
import anyio.from_thread
import pytest
from selenium import webdriver
from selenium.common import exceptions
from selenium.webdriver.chrome import service as chrome_service
from selenium.webdriver.support import wait

from tests.web import doubles
from worker.core.model.secret import Secret
from worker.core.monitoring import status
from worker.web import app, metrics, security, server

CHROMIUM = pathlib.Path("/usr/bin/chromium")
DRIVER = pathlib.Path("/usr/bin/chromedriver")
PATIENCE = 60


class Site:
    """The page of a fake service, and ways to change the service meanwhile."""

    def __init__(self, url: str, service: doubles.Service, portal: anyio.from_thread.BlockingPortal) -> None:
        self.url = url
        self.service = service
        self._portal = portal

    def show(self, present: status.Status) -> None:
        """Change the snapshot, as the running service does."""
        self._portal.call(self.service.show, present)

    def remember(self, runs: int = 36) -> None:
        """Fill the journal."""
        self._portal.call(doubles.past, self.service, runs)


@contextlib.contextmanager
def serving(present: status.Status, *, token: str | None = doubles.TOKEN) -> Iterator[Site]:
    """Serve the page from a thread."""
    service = doubles.Service(present)
    wanted = Secret(token) if token else None

    async def serve(*, task_status: anyio.abc.TaskStatus[str]) -> None:
        made = app.create(service, metrics.Metrics(), security.Access(wanted))
        await server.serve(made, host="127.0.0.1", port=0, on_listening=task_status.started)

    with anyio.from_thread.start_blocking_portal() as portal:
        task, url = portal.start_task(serve)
        try:
            yield Site(url, service, portal)
        finally:
            task.cancel()


Open = Callable[..., Site]


@pytest.fixture
def site() -> Iterator[Open]:
    """Serve pages until the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda present, **options: stack.enter_context(serving(present, **options))


def chromium(*, scripts: bool = True, dark: bool = False, reduced: bool = False) -> webdriver.Chrome:
    """Start a browser that uses no network but loopback."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not scripts:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    driver = webdriver.Chrome(options, chrome_service.Service(executable_path=str(DRIVER), env=_environment()))
    features = [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce" if reduced else "no-preference"},
    ]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    return driver


def _environment() -> dict[str, str]:
    return {**os.environ, "SE_OFFLINE": "true", "SE_AVOID_STATS": "true"}


def resize(driver: webdriver.Chrome, width: int, height: int = 800) -> None:
    """Set the size of the viewport, below the smallest window if need be."""
    metrics_ = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics_)


def until(driver: webdriver.Chrome, holds: Callable[[webdriver.Chrome], Any], *, sentence: str) -> Any:
    """Wait until the condition holds."""
    replaced = [exceptions.StaleElementReferenceException]  # between finding an element and reading it
    return wait.WebDriverWait(driver, PATIENCE, poll_frequency=0.05, ignored_exceptions=replaced).until(holds, sentence)


def complaints(driver: webdriver.Chrome) -> list[str]:
    """Return the errors and policy violations in the browser's console."""
    return [
        json.dumps(entry)
        for entry in driver.get_log("browser")  # type: ignore[no-untyped-call]
        if entry["level"] != "INFO"
    ]


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """Open one browser for all tests of a session, or skip."""
    require(CHROMIUM.exists() and DRIVER.exists(), "Chromium and its driver")
    driver = chromium()
    yield driver
    driver.quit()


def require(there: bool, what: str) -> None:
    """Skip the test if a tool is missing; fail it if tools are required."""
    if there:
        return
    if os.environ.get("FLEET_SYNC_TEST_TOOLS") == "required":
        pytest.fail(f"{what} must be installed here")
    pytest.skip(f"{what} is not installed")
