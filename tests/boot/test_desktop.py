"""A graphical Debian, driven by somebody with a browser."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from tests.boot import desktop
from tests.conftest import PATIENCE
from tests.run.house import House, wait

if TYPE_CHECKING:
    from subprocess import Popen

    from playwright.sync_api import Page

pytestmark = pytest.mark.long_guest(reason="needs a browser, and a Debian with Xorg")
# What the root window is painted with, and a terminal.
BLUE, WHITE = (0x33, 0x66, 0x99), (255, 255, 255)
# Pictures for people to look at.
PICTURES = Path(__file__).parents[2] / "build" / "desktop"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "home")
    yield made
    if names := made("ps", "-aq").split():
        made("rm", "--force", *names)
    shutil.rmtree(made.home / "templates", ignore_errors=True)


@pytest.fixture
def page() -> Iterator["Page"]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="there is no playwright; see scripts/setup-desktop"
    )
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("there is no chromium; see scripts/setup-desktop")
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox"]
        chromium = driver.chromium.launch(executable_path=browser, args=options)
        made = chromium.new_page(viewport={"width": 1104, "height": 800})
        made.set_default_timeout(PATIENCE * 1000)
        yield made
        chromium.close()


@contextmanager
def viewing(house: House) -> Iterator["Popen[bytes]"]:
    with house.inn.start("view", "desk", "--no-browser") as view:
        try:
            yield view
        finally:
            # It goes on for as long as its guest does.
            view.kill()


def type_by_hand(page: "Page", text: str) -> None:
    """As fingers do: playwright's own typing sends keys without their shift."""
    for character in text:
        shifted = character.isupper() or character in '~!@#$%^&*()_+{}|:"<>?'
        if shifted:
            page.keyboard.down("Shift")
        page.keyboard.press("Enter" if character == "\n" else character)
        if shifted:
            page.keyboard.up("Shift")


def said(house: House, words: str) -> None:
    wait(lambda: house("logs", "desk"), lambda text: words in text)


def colours(path: Path) -> dict[tuple[int, int, int], int]:
    with Image.open(path) as picture:
        found = picture.convert("RGB").getcolors(1 << 24)
    return {colour: count for count, colour in found or []}


def test_a_desktop_in_a_browser(house: House, tmp_path: Path, page: "Page") -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    words = desktop.start(tmp_path, "--memory", "768M", "--display", "virtio")
    house("run", "--detach", "--name", "desk", "--kernel", *words)
    said(house, "the desktop is there")
    with viewing(house) as view:
        assert view.stdout is not None
        page.goto(view.stdout.readline().decode().strip())
        page.wait_for_function("document.getElementById('status').value === 'connected'")
        # The guest's screen is as large as the page has room.
        room = page.locator("#screen").bounding_box()
        assert room is not None
        width, height = int(room["width"]) & ~7, int(room["height"])
        said(house, f"screen: {width}x{height} pixels")
        canvas = page.locator("#screen canvas")

        def at(x: int, y: int) -> tuple[float, float]:
            """Where the page shows that place of the guest's screen."""
            box = canvas.bounding_box()
            assert box is not None
            return box["x"] + x * box["width"] / width, box["y"] + y * box["height"] / height

        page.mouse.move(*at(300, 200))
        page.mouse.click(*at(300, 200))
        type_by_hand(page, "echo Typed into $TERM in a browser. | tee /dev/ttyS0\n")
        said(house, "Typed into xterm in a browser.")
        page.screenshot(path=PICTURES / "typed.png")
        seen = colours(PICTURES / "typed.png")
        assert seen[BLUE] > 100_000
        assert seen[WHITE] > 50_000
        # What is copied to the guest that has no agent can be typed.
        page.click("#paste")
        page.fill("#text", "echo Pasted: $((6 * 7)) | tee /dev/ttyS0\n")
        page.screenshot(path=PICTURES / "clipboard.png")
        page.click("#type")
        said(house, "Pasted: 42")
        page.click("#paste")
        # A menu of the window manager's, over the root window.
        page.mouse.click(*at(width - 200, 300), button="right")
        house("screenshot", "desk", tmp_path / "before.png")
        before = colours(tmp_path / "before.png")[BLUE]
        wait(lambda: _blue(house, PICTURES / "menu.png"), lambda blue: blue <= before)
        page.screenshot(path=PICTURES / "menu-in-browser.png")
        page.keyboard.press("Escape")
        # Its serial console is there as well.
        page.click("#show-console")
        page.keyboard.type("by hand\n")
        said(house, "console: by hand")
        page.screenshot(path=PICTURES / "console.png")
        house("kill", "desk")
        assert view.wait(timeout=PATIENCE) == 0


def _blue(house: House, path: Path) -> int:
    house("screenshot", "desk", path)
    return colours(path)[BLUE]
