"""The pages in headless Chromium: the result, its keys and buttons, and two scans aligned from a form.

Skipped where there is no Chromium; CI installs it.
"""

from __future__ import annotations

import shutil
import threading
import time

import numpy as np
import pytest
from PIL import Image
from tiny_jssr import ball, ball_labels

from jssr.io.images import write_image
from jssr.viewer.server import STATIC, create_app

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(not (STATIC / "vendor" / "niivue.umd.js").is_file(), reason="NiiVue is not built (make vendor)"),
]
FLAGS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


@pytest.fixture(scope="module")
def address(aligned, tmp_path_factory):
    """A server of the aligned balls, on a port of its own."""
    import uvicorn

    app = create_app(aligned, tmp_path_factory.mktemp("space"))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    one = chromium.new_page(viewport={"width": 1200, "height": 800})
    one.said = []
    one.on("pageerror", lambda e: one.said.append(str(e)))
    one.on("console", lambda m: one.said.append(m.text) if m.type == "error" else None)
    yield one
    assert not one.said  # no script failed, nothing was refused by the content security policy
    one.close()


@pytest.fixture(scope="module")
def loaded(chromium, address):
    """The result's page, loaded once: that takes a software renderer seconds."""
    one = chromium.new_page(viewport={"width": 900, "height": 640})
    one.said = []
    one.on("pageerror", lambda e: one.said.append(str(e)))
    one.on("console", lambda m: one.said.append(m.text) if m.type == "error" else None)
    one.goto(address)
    one.wait_for_selector("body[data-ready=yes]", timeout=60_000)
    yield one
    one.close()


@pytest.fixture
def shown(loaded):
    """The same as it was when it was loaded."""
    loaded.evaluate(
        """() => { document.getElementById("labels").value = 35; document.getElementById("map").value = "";
        document.getElementById("mix").value = 50;
        return change({ mode: "moving", state: "after", window: 0, map: "" }); }"""
    )
    yield loaded
    assert not loaded.said  # no script failed, nothing was refused by the content security policy


def picture(page, canvas, path):
    """The pixels of a panel, 0..255."""
    page.wait_for_timeout(150)
    page.locator(f"#{canvas}").screenshot(path=path)
    return np.asarray(Image.open(path).convert("RGB"), dtype=float)


def test_both_scans_are_drawn(shown, tmp_path):
    assert shown.title() == "arterial on venous – jssr"
    for canvas in ("left", "right"):
        pixels = picture(shown, canvas, tmp_path / "p.png")
        assert 0.05 < (pixels.max(axis=-1) > 60).mean() < 0.9, canvas


def test_before_and_after_differ(shown, tmp_path):
    shown.keyboard.press("l")  # without the organs' colours
    after = picture(shown, "right", tmp_path / "a.png")
    shown.keyboard.press("b")
    assert shown.locator('[data-state="before"]').get_attribute("aria-pressed") == "true"
    assert "before alignment" in shown.locator("#right-name").inner_text()
    before = picture(shown, "right", tmp_path / "b.png")
    assert np.abs(after - before).max() > 40
    shown.keyboard.press("b")
    assert np.abs(picture(shown, "right", tmp_path / "c.png") - after).max() < 3


def test_checkerboard_takes_from_both(shown, tmp_path):
    shown.keyboard.press("l")
    shown.keyboard.press("b")
    left, before = (picture(shown, c, tmp_path / f"{c}.png") for c in ("left", "right"))
    shown.keyboard.press("c")
    mixed = picture(shown, "right", tmp_path / "m.png")
    apart = np.abs(left - before).max(axis=-1) > 60
    near_fixed = np.abs(mixed - left).max(axis=-1) < 8
    near_moving = np.abs(mixed - before).max(axis=-1) < 8
    assert (near_fixed & apart).sum() > 50 and (near_moving & apart).sum() > 50


def test_blend_and_difference(shown, tmp_path):
    shown.keyboard.press("l")
    left = picture(shown, "left", tmp_path / "l.png")
    shown.keyboard.press("o")
    shown.locator("#mix").fill("0")  # nothing of the moving scan
    assert np.abs(picture(shown, "right", tmp_path / "b.png") - left)[60:].mean() < 1
    shown.keyboard.press("d")
    grey = picture(shown, "right", tmp_path / "d.png")
    drawn = grey.max(axis=-1) > 40
    assert (np.abs(grey - 128).max(axis=-1) < 12)[drawn].mean() > 0.5  # mid-grey where they agree


def test_window_and_organs(shown, tmp_path):
    first = picture(shown, "left", tmp_path / "a.png")
    shown.keyboard.press("4")
    assert shown.locator('[data-window="3"]').get_attribute("aria-pressed") == "true"
    bone = picture(shown, "left", tmp_path / "b.png")
    assert bone[first.max(axis=-1) > 100].mean() < first[first.max(axis=-1) > 100].mean()
    shown.locator("#labels").fill("0")
    plain = picture(shown, "left", tmp_path / "c.png")
    yellow = [(pixels[..., 0] - pixels[..., 2] > 40).sum() for pixels in (bone, plain)]  # the crosshair is blue
    assert yellow[0] > 1000 and yellow[1] == 0


def test_fields(shown, tmp_path):
    shown.keyboard.press("l")
    without = picture(shown, "left", tmp_path / "a.png")
    for name in ("displacement", "jacobian"):
        shown.locator("#map").select_option(name)
        shown.locator("#legend").wait_for()
        shown.wait_for_timeout(500)
        assert np.abs(picture(shown, "left", tmp_path / "b.png") - without).max() > 20, name


def test_crosshairs_go_together_and_tell_millimetres(shown, tmp_path):
    where = shown.locator("#where").inner_text()
    assert where.startswith("LPS ")
    shown.locator("#left").click(position={"x": 110, "y": 200})
    shown.wait_for_timeout(300)
    now = shown.locator("#where").inner_text()
    assert now != where
    at = shown.evaluate("panels.map((p) => Array.from(p.scene.crosshairPos))")
    assert np.allclose(at[0], at[1], atol=1e-4)
    # The value shown is the scan's own, at that place in LPS.
    lps = [float(v) for v in now[4:-3].split(", ")]
    y = ball()
    expected = y.array[tuple(np.rint(y.grid.index(lps)).astype(int))]
    assert f"fixed {expected:g} HU" in shown.locator("#values").inner_text()
    heights = []
    for _ in range(2):  # the first brings it to the middle of a voxel
        shown.keyboard.press("PageUp")
        heights.append(float(shown.locator("#where").inner_text()[4:-3].split(", ")[2]))
    assert heights[1] == pytest.approx(heights[0] + 4, abs=0.11) and lps[2] < heights[0]


def test_report_opens(page, shown):
    page.goto(shown.url.partition("/view")[0] + shown.locator("#report").get_attribute("href"))
    assert "aligned to venous" in page.locator("h1").inner_text()


def test_two_scans_from_the_form(page, address, tmp_path):
    for name, centre in (("y", (0, 0, 0)), ("x", (6, 0, 0))):
        write_image(ball(centre), tmp_path / f"{name}.nii.gz", "int16")
    page.goto(f"{address}/new")
    assert page.locator("#go").is_disabled()
    for scan, name in (("fixed", "y"), ("moving", "x")):
        with page.expect_file_chooser() as chooser:
            page.locator(f'[data-scan="{scan}"] [data-pick="file"]').click()
        chooser.value.set_files(tmp_path / f"{name}.nii.gz")
    page.locator("#system").select_option("discrete")
    page.locator("#refine").fill("500")
    page.locator("#go").click()
    page.locator("#cancel").click()
    page.wait_for_selector("#run", state="hidden")
    page.locator("#refine").fill("5")
    page.locator("#more summary").click()
    page.locator('[name="smoothness"]').fill("2")
    page.locator('[name="preset"]').select_option("ct-abdomen")
    write_image(ball_labels(), tmp_path / "organ.nii.gz")
    page.locator('[name="fixed_mask"]').set_input_files(tmp_path / "organ.nii.gz")
    page.locator("#go").click()
    page.wait_for_url("**/view/*", timeout=90_000)
    page.wait_for_selector("body[data-ready=yes]", timeout=60_000)
    assert page.title() == "moving.nii.gz on fixed.nii.gz – jssr"


def test_a_refused_scan_is_told(page, address, tmp_path):
    write_image(ball(), tmp_path / "y.nii.gz", "int16")
    (tmp_path / "x.nii.gz").write_bytes(b"nonsense")
    page.goto(f"{address}/new")
    for scan, name in (("fixed", "y"), ("moving", "x")):
        with page.expect_file_chooser() as chooser:
            page.locator(f'[data-scan="{scan}"] [data-pick="file"]').click()
        chooser.value.set_files(tmp_path / f"{name}.nii.gz")
    page.locator("#go").click()
    page.wait_for_selector("#error:not([hidden])", timeout=60_000)
    assert page.locator("#error").inner_text().startswith("moving.nii.gz: ")
    assert page.locator("#go").is_enabled()
