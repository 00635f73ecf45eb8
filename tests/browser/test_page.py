"""The status page in a real browser."""

import dataclasses
import datetime
import importlib.util
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.common import exceptions
from selenium.webdriver.common import by, keys

from tests.browser import conftest
from tests.web import doubles

CSS = by.By.CSS_SELECTOR


def text(browser: webdriver.Chrome, selector: str) -> str:
    """Read an element, which may be replaced between finding and reading it."""
    try:
        return browser.find_element(CSS, selector).text
    except exceptions.StaleElementReferenceException:
        return browser.find_element(CSS, selector).text


def test_progress_shows_without_a_reload(browser: webdriver.Chrome, site: conftest.Open) -> None:
    page = site(doubles.calm())
    browser.get(page.url)
    browser.execute_script("window.kept = true")
    assert "In sync: 6 fleets, 3,480 memberships, checked 40 s ago, next in 4 min." in text(browser, "h1")
    for done in (300, 1500, 2900):
        page.show(doubles.working(done))
        bar = f"progress[value='{done}']"
        conftest.until(browser, lambda b, bar=bar: bool(b.find_elements(CSS, bar)), sentence=f"the bar is at {done}")  # type: ignore[misc]
    assert "2,900 of 3,000" in text(browser, "h1")
    assert browser.title == "Working – fleet-sync"  # noqa: RUF001
    page.show(doubles.calm())
    conftest.until(browser, lambda b: not b.find_elements(CSS, "progress"), sentence="the bar is gone")
    assert browser.execute_script("return window.kept")
    assert text(browser, "#running") == ""


def sign_in(browser: webdriver.Chrome, page: conftest.Site) -> None:
    browser.get(page.url)
    browser.find_element(CSS, "a[href='/login']").click()
    conftest.until(browser, lambda b: bool(b.find_elements(CSS, "#token")), sentence="the form to sign in is there")
    browser.find_element(CSS, "#name").send_keys("Emma Bakker")
    browser.find_element(CSS, "#token").send_keys(doubles.TOKEN + keys.Keys.ENTER)
    conftest.until(browser, lambda b: "Signed in as Emma Bakker" in text(b, "header"), sentence="she is signed in")


def test_held_changes_are_approved_after_signing_in(browser: webdriver.Chrome, site: conftest.Open) -> None:
    page = site(doubles.holding())
    browser.get(page.url)
    assert doubles.DIGEST in text(browser, "#approve")
    assert "Ada Marchand" in text(browser, "#approve")
    assert not browser.find_element(CSS, "#approve button").is_displayed()
    sign_in(browser, page)
    browser.find_element(CSS, "#approve button").click()
    conftest.until(browser, lambda b: "Approved." in text(b, "main"), sentence="it says that it is approved")
    assert (page.service.approved, page.service.by) == ([doubles.DIGEST], ["Emma Bakker"])
    assert doubles.TOKEN not in browser.page_source
    page.remember(runs=2)
    page.show(doubles.calm())
    conftest.until(browser, lambda b: "Approved." not in text(b, "main"), sentence="a run has ended since")
    assert not conftest.complaints(browser)
    browser.find_element(CSS, "header .quiet").click()
    conftest.until(browser, lambda b: "Sign in" in text(b, "header"), sentence="she is signed out")
    assert not browser.get_cookies()


def test_writes_are_paused_and_resumed(browser: webdriver.Chrome, site: conftest.Open) -> None:
    page = site(doubles.paused())
    sign_in(browser, page)
    browser.find_element(CSS, ".toolbar > form button").click()
    conftest.until(browser, lambda b: "A run was requested" in text(b, "main"), sentence="a run is requested")
    browser.find_element(CSS, ".pause summary").click()
    browser.find_element(CSS, "#pause-reason").send_keys("new lists" + keys.Keys.ENTER)
    conftest.until(browser, lambda b: "write nothing" in text(b, "main"), sentence="writes are paused")
    browser.find_element(CSS, "#attention button").click()
    conftest.until(browser, lambda b: "Resumed." in text(b, "main"), sentence="writes are resumed")
    assert (page.service.synced, page.service.by) == (1, ["Emma Bakker"] * 2)
    browser.delete_all_cookies()


def test_a_wrong_token_is_refused(browser: webdriver.Chrome, site: conftest.Open) -> None:
    page = site(doubles.holding())
    browser.get(page.url + "login")
    browser.find_element(CSS, "#name").send_keys("Emma")
    browser.find_element(CSS, "#token").send_keys("wrong" + keys.Keys.ENTER)
    conftest.until(browser, lambda b: "The token is incorrect" in text(b, "main"), sentence="the token is refused")
    assert not browser.get_cookies()
    browser.get_log("browser")  # type: ignore[no-untyped-call]  # the 401 is expected


def test_changes_that_have_just_changed_cannot_be_approved_by_mistake(
    browser: webdriver.Chrome, site: conftest.Open
) -> None:
    page = site(doubles.holding())
    sign_in(browser, page)
    last = page.service.present.last
    assert last is not None
    assert last.guarded is not None
    other = dataclasses.replace(last.guarded, held=last.guarded.held[:-1])
    page.show(dataclasses.replace(page.service.present, last=dataclasses.replace(last, guarded=other)))
    conftest.until(browser, lambda b: b.find_element(CSS, "#approve .stale").is_displayed(), sentence="it is said")
    assert not browser.find_element(CSS, "#approve button").is_enabled()
    conftest.until(
        browser, lambda b: b.find_element(CSS, "#approve button").is_enabled(), sentence="it can be approved"
    )
    assert other.held_digest in text(browser, "#approve")
    browser.delete_all_cookies()


def test_the_focus_stays_where_it_is(browser: webdriver.Chrome, site: conftest.Open) -> None:
    page = site(doubles.calm())
    browser.get(page.url)
    link = f"/fleets/{doubles.fleet(4)}"
    browser.execute_script("document.querySelector(arguments[0]).focus()", f'#fleets a[href="{link}"]')
    page.show(doubles.drifting())
    conftest.until(browser, lambda b: "2 drifted" in text(b, "#fleets"), sentence="the drift shows")
    assert browser.execute_script("return document.activeElement.getAttribute('href')") == link


def test_a_stopped_service_does_not_look_in_sync(browser: webdriver.Chrome) -> None:
    with conftest.serving(doubles.calm()) as page:
        browser.get(page.url)
        conftest.until(browser, lambda b: "In sync" in text(b, "h1"), sentence="it is in sync")
        assert not browser.find_element(CSS, "#disconnected").is_displayed()
    conftest.until(browser, lambda b: b.find_element(CSS, "#disconnected").is_displayed(), sentence="the loss shows")
    browser.get_log("browser")  # type: ignore[no-untyped-call]  # the lost connection is expected
    browser.get("about:blank")


def test_a_driver_is_found(browser: webdriver.Chrome, site: conftest.Open) -> None:
    page = site(doubles.refusing())
    page.remember()
    browser.get(page.url)
    browser.find_element(CSS, "#q").send_keys("bruno" + keys.Keys.ENTER)
    conftest.until(browser, lambda b: "Bruno Keller" in text(b, "main"), sentence="the name is found")
    browser.find_element(CSS, ".matches a").click()
    conftest.until(browser, lambda b: "This driver is suspended." in text(b, "main"), sentence="the reason is shown")
    assert "driver_blocked" in text(browser, "main")
    assert "req_8sJw02kLmQ" in text(browser, "main")
    browser.find_element(CSS, "#changes-title ~ table a").click()
    conftest.until(browser, lambda b: "Run of" in text(b, "h1"), sentence="the run opens")


@pytest.fixture(scope="module")
def plain() -> Iterator[webdriver.Chrome]:
    """Start a browser that runs no scripts."""
    conftest.require(conftest.CHROMIUM.exists() and conftest.DRIVER.exists(), "Chromium and its driver")
    driver = conftest.chromium(scripts=False)
    yield driver
    driver.quit()


def test_everything_works_without_scripts(plain: webdriver.Chrome, site: conftest.Open) -> None:
    page = site(doubles.holding())
    page.remember()
    plain.get(page.url)
    assert "4 detaches are held" in text(plain, "h1")
    sign_in(plain, page)
    plain.find_element(CSS, "#approve button").click()
    conftest.until(plain, lambda b: "Approved." in text(b, "main"), sentence="it is approved")
    assert page.service.approved == [doubles.DIGEST]
    plain.find_element(CSS, "#q").send_keys(doubles.driver(20) + keys.Keys.ENTER)
    conftest.until(plain, lambda b: "Changes to this driver" in text(b, "main"), sentence="the driver is found")
    plain.get(page.url)
    plain.find_element(CSS, "#fleets a").click()
    conftest.until(plain, lambda b: text(b, "h1") == "Airport shuttles", sentence="the fleet opens")


def _addresses(mood: str) -> list[str]:
    paths = [""]
    if mood == "large":
        paths += ["runs", "runs?result=failed", "fleets", "fleets?state=held&sort=name"]
    if mood == "held":
        paths += ["runs/run_0001", f"fleets/{doubles.fleet(3)}"]
    if mood == "refused":
        paths += ["runs/run_0001", f"fleets/{doubles.fleet(0)}", f"drivers?q={doubles.driver(1)}", "drivers", "nowhere"]
    return paths


@pytest.mark.parametrize("mood", doubles.MOODS)
def test_the_page_fits_a_phone(browser: webdriver.Chrome, site: conftest.Open, mood: str) -> None:
    present = doubles.MOODS[mood]()
    fleets = tuple(dataclasses.replace(each, name="Unbreakable" * 12) for each in present.fleets)
    page = site(dataclasses.replace(present, fleets=fleets))
    page.remember()
    conftest.resize(browser, 360)
    try:
        for path in _addresses(mood):
            browser.get(page.url + path)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 360, path
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.get_log("browser")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("mood", doubles.MOODS)
def test_the_browser_console_stays_empty(browser: webdriver.Chrome, site: conftest.Open, mood: str) -> None:
    page = site(doubles.MOODS[mood]())
    page.remember()
    browser.get_log("browser")  # type: ignore[no-untyped-call]
    for path in _addresses(mood):
        if path != "nowhere":
            browser.get(page.url + path)
            assert conftest.complaints(browser) == []
    browser.get(page.url)
    page.show(dataclasses.replace(page.service.present, rate=1.5))
    conftest.until(browser, lambda b: "1.5 of at most" in text(b, "#facts"), sentence="the rate changes")
    assert conftest.complaints(browser) == []


def _axe() -> str:
    """Return the script of axe-core, which a development requirement contains."""
    found = importlib.util.find_spec("selenium_axe_python")
    conftest.require(found is not None and found.origin is not None, "selenium-axe-python, which carries axe-core")
    assert found is not None
    assert found.origin is not None
    return (pathlib.Path(found.origin).parent / "axe-core" / "axe.min.js").read_text()


@pytest.mark.parametrize("phone", [False, True], ids=["light", "dark-phone-without-scripts"])
@pytest.mark.parametrize("mood", doubles.MOODS)
def test_the_page_is_accessible(browser: webdriver.Chrome, site: conftest.Open, mood: str, phone: bool) -> None:
    """axe-core finds no violation: on a wide light page, and without scripts on a dark phone."""
    script = _axe()
    page = site(doubles.MOODS[mood]())
    page.remember(runs=8)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if phone else "light"}
    still = {"name": "prefers-reduced-motion", "value": "reduce"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})
    conftest.resize(browser, 390 if phone else 1280)
    try:
        for path in _addresses(mood):
            browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": phone})
            browser.get(page.url + path)
            assert bool(browser.find_elements(CSS, "button.copy")) <= (not phone)
            browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
            browser.execute_cdp_cmd("Runtime.evaluate", {"expression": script})  # past the policy, as a debugger may
            found: Any = browser.execute_async_script("axe.run().then(arguments[0])")
            wrong = [
                (each["id"], node["html"][:200], node["failureSummary"])
                for each in found["violations"]
                for node in each["nodes"]
            ]
            assert wrong == [], path
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        browser.get_log("browser")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("mood", ["large", "held", "refused"])
def test_no_name_is_broken_within_a_word(browser: webdriver.Chrome, site: conftest.Open, mood: str) -> None:
    """A word that fits its column is on one line: no "Grenobl/e taxis"."""
    page = site(doubles.MOODS[mood]())
    page.remember(runs=8)
    words = """
        return [...document.querySelectorAll("table bdi")].flatMap((name) => {
          const range = document.createRange(), text = name.firstChild;
          return [...text.data.matchAll(/[^ -]+/g)].filter((word) => {
            range.setStart(text, word.index); range.setEnd(text, word.index + word[0].length);
            return range.getClientRects().length > 1;
          }).map((word) => word[0]);
        })"""
    try:
        for width in (360, 390, 700, 1280):
            conftest.resize(browser, width)
            for path in _addresses(mood):
                browser.get(page.url + path)
                assert browser.execute_script(words) == [], (width, path)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.get_log("browser")  # type: ignore[no-untyped-call] # a page that is not found is a complaint


def test_times_are_in_the_readers_zone_with_utc_in_reach(
    browser: webdriver.Chrome, plain: webdriver.Chrome, site: conftest.Open
) -> None:
    page = site(doubles.calm())
    page.remember(runs=2)
    browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "America/New_York"})
    try:
        browser.get(page.url + "runs/run_0001")
        shown = browser.find_element(CSS, "h1 time")
        assert (shown.text, shown.get_attribute("title")) == ("2026-12-01 06:59:17", "2026-12-01 11:59:17 UTC")
        browser.get(page.url)
        page.show(dataclasses.replace(page.service.present, rate=1.5))
        conftest.until(browser, lambda b: "1.5 of at most" in text(b, "#facts"), sentence="the facts are replaced")
        assert "2026-11-28 05:00:00" in text(browser, "#facts")
        ago = browser.find_element(CSS, "#history tbody time").get_attribute("title")
        assert ago == "2026-12-01 06:59:17 here, 2026-12-01 11:59:17 UTC"
    finally:
        browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})
    plain.get(page.url + "runs/run_0001")
    assert plain.find_element(CSS, "h1 time").text == "2026-12-01 11:59:17 UTC"


def test_digests_and_ids_are_copied_with_a_button(browser: webdriver.Chrome, site: conftest.Open) -> None:
    page = site(doubles.holding())
    permissions = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.execute_cdp_cmd("Browser.grantPermissions", permissions)
    browser.get(page.url)
    browser.find_element(CSS, "#copy-digest").click()
    conftest.until(browser, lambda b: text(b, "#copy-digest") == "Copied", sentence="it is copied")
    assert browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])") == doubles.DIGEST
    browser.get(page.url + f"fleets/{doubles.fleet(3)}")
    assert browser.find_element(CSS, "#copy-fleet-id").is_displayed()
    assert not conftest.complaints(browser)


def test_reduced_motion_is_respected(browser: webdriver.Chrome, site: conftest.Open) -> None:
    page = site(doubles.working())
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    )
    browser.get(page.url)
    assert browser.execute_script("return document.getAnimations().length") == 0
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_ages_grow_without_a_change(browser: webdriver.Chrome, site: conftest.Open) -> None:
    """The page is refreshed now and then without a change."""
    page = site(doubles.calm())
    browser.get(page.url)
    conftest.until(browser, lambda b: "checked 40 s ago" in text(b, "h1"), sentence="it is 40 s old")
    page.service.present = doubles.calm(now=doubles.NOW + datetime.timedelta(seconds=7))
    conftest.until(browser, lambda b: "checked 47 s ago" in text(b, "h1"), sentence="it is 47 s old")
