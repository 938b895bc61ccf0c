"""The page of inn view in a browser, of which a guest has the screen and no more."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

VIEW = Path(__file__).parents[4] / "python/innkeeper/services/view"
PLACE = "http://localhost:7/"
# In place of noVNC: what the guest says comes from the test.
NOVNC = """
export default class extends EventTarget {
    constructor() { super(); window.guest = this; window.heard = []; }
    clipboardPasteFrom(text) { window.heard.push(text); }
    focus() {}
}
"""


@pytest.fixture
def page() -> Iterator["Page"]:
    playwright = pytest.importorskip("playwright.sync_api", reason="see scripts/setup-desktop")
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("there is no chromium; see scripts/setup-desktop")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        context = chromium.new_context()
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        made = context.new_page()
        made.set_default_timeout(120_000)
        made.route("**/*", serve)
        made.goto(PLACE)
        made.wait_for_function("window.guest")
        yield made
        chromium.close()


def serve(route: "Route") -> None:
    name = route.request.url.removeprefix(PLACE)
    kind = "text/javascript"
    if name == "guest.json":
        route.fulfill(body=json.dumps({"screen": True}), content_type="application/json")
    elif name.startswith("novnc/"):
        route.fulfill(body=NOVNC, content_type=kind)
    elif name == "page.js":
        route.fulfill(path=VIEW / name, content_type=kind)
    elif name == "":
        route.fulfill(path=VIEW / "page.html", content_type="text/html")
    else:
        route.fulfill(body="", content_type=kind)


def test_what_a_guest_copies_is_taken_by_hand(page: "Page") -> None:
    page.evaluate("navigator.clipboard.writeText('mine')")
    page.evaluate(
        "guest.dispatchEvent(new CustomEvent('clipboard', {detail: {text: 'the guest\\'s'}}))"
    )
    page.click("#paste")
    assert page.input_value("#text") == "the guest's"
    assert page.evaluate("navigator.clipboard.readText()") == "mine"
    page.click("#take")
    page.wait_for_function("document.getElementById('status').value === 'copied'")
    assert page.evaluate("navigator.clipboard.readText()") == "the guest's"
    page.fill("#text", "for the guest")
    page.click("#copy")
    assert page.evaluate("heard") == ["for the guest"]
