"""The page is clicked in a browser: Chromium, by playwright; skipped where they are not."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest
from helpers.paths import ROOT

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]
WAIT = 300_000  # milliseconds
# What a hand on the slider does.
SLIDE = """(slider, value) => {
    slider.value = value;
    for (const event of ['input', 'change', 'pointerup'])
        slider.dispatchEvent(new Event(event, {bubbles: true}));
}"""


@pytest.fixture
def address(tmp_path):
    """Of a page of the demo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CLIPDIFF_JAX_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "clipdiff_jax", "app", "--port", str(port), "--steps", "4"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def test_an_edit_and_its_mistakes(address, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.goto(address)
        slider = page.locator("input[type=range]").first

        def told(value):
            slider.evaluate(SLIDE, value)
            said = page.inner_text(".toast-body")
            page.click(".toast-close")
            return said

        page.wait_for_selector("input[type=range]")
        assert "There is no picture yet" in told("0.5")
        page.locator("input[type=file]").first.set_input_files(tmp_path / "broken.png")
        time.sleep(3)
        assert "cannot read the image" in told("0.6")
        page.locator(".gallery-item").first.click()
        time.sleep(3)
        slider.evaluate(SLIDE, "0.9")
        page.wait_for_selector("#edited img")
        browser.close()
