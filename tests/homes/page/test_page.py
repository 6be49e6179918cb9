"""The status page in a real browser: no violation, no message, nothing to scroll sideways.

With ``ROTATOR_PICTURES=docs/images`` in the environment it writes the pictures that the
documentation shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, sync_playwright

from rotator.web import Answers, WebServer
from tests.core.builders import DAY, NOW
from tests.fakes.clock import FakeClock
from tests.web.samples import Sample, fleet, heard, wedged

WIDTHS = {"phone": (390, 844), "desktop": (1280, 900)}

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]

OVERLAP = """() => {
  const seen = [];
  for (const each of document.querySelectorAll('h1, h2, h3, p, dd, code, .name, .next, .badge')) {
    const box = each.getBoundingClientRect();
    if (box.width && (box.left < -1 || box.right > innerWidth + 1)) seen.push(each.textContent);
  }
  return seen;
}"""
"""Returns the texts that stand outside of the window."""


def troubled() -> Sample:
    """A fleet in which everything is wrong, the process included."""
    sample = fleet(30, bad=30)
    sample.whole = replace(
        sample.whole,
        key_refused="openrouter list keys: 401, the management key is not accepted",
        reload_error='config.toml:31: policy.standard.evry: unknown key, did you mean "every"?',
        resync_error="openrouter list keys: 401",
        busy=(wedged(),),
        key_expires_at=NOW + 3 * DAY,
    )
    return sample


FLEETS: dict[str, Callable[[], Sample]] = {
    "none": lambda: fleet(0),
    "one": lambda: fleet(1),
    "one-wrong": lambda: fleet(1, bad=1),
    "thirty": lambda: fleet(30, busy=True),
    "thirty-some-wrong": lambda: fleet(30, bad=3, busy=True),
    "thirty-wrong": troubled,
    "thousand": lambda: fleet(1000, busy=True),
    "thousand-wrong": lambda: fleet(1000, bad=1000),
}

SHOWN = {
    ("thirty-some-wrong", "desktop", "light"): "page-desktop",
    ("thirty-some-wrong", "desktop", "dark"): "page-dark",
    ("thousand", "phone", "light"): "page-phone",
    ("thousand-wrong", "desktop", "light"): "page-thousand",
}
"""The pictures that the documentation has."""


@dataclass(slots=True)
class Visit:
    """What a browser made of the page.

    Attributes:
        page: the page, still open.
        said: messages on the console, errors and violations.
        asked: what was asked of the server, by path, with the status.
    """

    page: Any
    said: list[str] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def browser(program: Any) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program("chromium"), args=FLAGS)
        yield found
        found.close()


@contextmanager
def serving(sample: Sample) -> Iterator[str]:
    """Serve a fleet; gives the address."""
    clock = FakeClock(NOW)
    answers = Answers(sample, heard(clock), clock, listen_host="127.0.0.1", page=True)
    server = WebServer("127.0.0.1", 0, answers)
    server.start()
    try:
        host, port = server.address
        yield f"http://{host}:{port}/"
    finally:
        server.stop()


@contextmanager
def visiting(
    browser: Browser,
    address: str,
    *,
    width: str = "desktop",
    scheme: Literal["light", "dark"] = "light",
    scripts: bool = False,
) -> Iterator[Visit]:
    """Open the page in a window of its own."""
    size = WIDTHS[width]
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        java_script_enabled=scripts,
    )
    page = context.new_page()
    visit = Visit(page)
    page.on("console", lambda message: visit.said.append(message.text))
    page.on("pageerror", lambda error: visit.said.append(str(error)))
    page.on("requestfailed", lambda request: visit.said.append(f"failed: {request.url}"))
    page.on("response", lambda got: visit.asked.update({got.url: got.status}))
    page.goto(address, wait_until="load")
    yield visit
    context.close()


def pictures() -> Path | None:
    """Where pictures for the documentation are to be written, or None."""
    where = os.environ.get("ROTATOR_PICTURES")
    return Path(where) if where else None


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", list(WIDTHS))
@pytest.mark.parametrize("name", list(FLEETS))
def test_the_page_is_quiet_and_fits(
    name: str,
    width: str,
    scheme: Literal["light", "dark"],
    browser: Browser,
    tmp_path: Path,
) -> None:
    with (
        serving(FLEETS[name]()) as address,
        visiting(browser, address, width=width, scheme=scheme, scripts=True) as visit,
    ):
        assert visit.said == []
        assert set(visit.asked.values()) == {200}
        inside = visit.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert inside[0] <= inside[1]
        assert visit.page.evaluate(OVERLAP) == []
        picture = visit.page.screenshot(path=tmp_path / "page.png")
        assert len(picture) > 5000
        shown = SHOWN.get((name, width, scheme))
        if shown is not None and (folder := pictures()) is not None:
            visit.page.screenshot(path=folder / f"{shown}.png")


def test_a_person_sees_at_once_what_is_wrong(browser: Browser) -> None:
    """The sentence, the counts and the first target are in the window without scrolling."""
    with serving(FLEETS["thirty-some-wrong"]()) as address:
        for width, (_, height) in WIDTHS.items():
            with visiting(browser, address, width=width) as visit:
                for what in ("h1", ".shares", ".chip", "article h3"):
                    box = visit.page.locator(what).first.bounding_box()
                    assert box is not None
                    assert box["y"] + box["height"] <= height, (what, width)


def test_it_works_without_scripts_filters_and_pages_included(browser: Browser) -> None:
    with serving(FLEETS["thousand"]()) as address, visiting(browser, address) as visit:
        page = visit.page
        page.get_by_role("link", name="Next →").click()
        assert page.url.endswith("/?page=2")
        page.locator(".chip", has_text="held").click()
        assert page.url.endswith("/?state=held")
        assert page.locator(".row").count() == 50
        page.get_by_role("searchbox").fill("billing-agent-2")
        page.get_by_role("button", name="Find").click()
        assert "q=billing-agent-2" in page.url
        assert page.locator(".row .name").all_inner_texts()[0].startswith("billing-agent-2")
        page.get_by_role("link", name="Show all").click()
        assert page.url == address
        assert visit.said == []


def test_the_browser_would_stop_a_script_and_an_inline_style(browser: Browser) -> None:
    with (
        serving(FLEETS["one"]()) as address,
        visiting(browser, address, scripts=True) as visit,
    ):
        visit.page.evaluate(
            """() => {
              const made = document.createElement('script');
              made.textContent = 'document.title = "acted"';
              document.head.append(made);
              document.body.setAttribute('style', 'display: none');
            }"""
        )
        assert visit.page.title() != "acted"
        assert visit.page.locator("h1").is_visible()
        assert any("Content Security Policy" in said for said in visit.said)


def test_it_asks_for_itself_again(browser: Browser) -> None:
    sample = fleet(2)
    with serving(sample) as address:
        from rotator.web import page as module

        before, module.REFRESH = module.REFRESH, 1
        try:
            with visiting(browser, address) as visit:
                assert visit.page.locator("h1").inner_text() == "All 2 targets are in order"
                first = next(iter(sample.made.values()))
                sample.unreachable(first, "vault: no route to host")
                visit.page.get_by_text("1 of 2 targets needs attention").wait_for()
        finally:
            module.REFRESH = before


def test_it_can_be_read_aloud(browser: Browser) -> None:
    """Landmarks, one first heading, and a text for each picture."""
    with (
        serving(FLEETS["thirty-some-wrong"]()) as address,
        visiting(browser, address, scripts=True) as visit,
    ):
        page = visit.page
        assert page.locator("h1").count() == 1
        assert page.locator("main").count() == 1
        assert page.locator("html").get_attribute("lang") == "en"
        for picture in page.locator("svg[role=img]").all():
            assert picture.get_attribute("aria-label")
