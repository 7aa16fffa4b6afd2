"""The README's two pictures, of a study in a home: its report, and its trials in MLflow's interface.

`python docs/pictures.py HOME STUDY`, while `cvae-pipe ui` runs in that home; needs a chromium.
"""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
"""Else a panel opens by itself when a browser comes for the first time."""
WIDTH = 1000
"""Pixels: as wide as a repository page shows a picture."""


def report(page: Page, html: Path) -> list[Image.Image]:
    """The answer, and the beginning of the wall."""
    page.goto(html.as_uri())
    page.wait_for_timeout(2000)
    top = page.evaluate("document.querySelector('.wall, [class*=wall]').getBoundingClientRect().top + scrollY")
    full = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    end = page.evaluate("document.querySelector('section dl').getBoundingClientRect().bottom + scrollY")
    return [full.crop((0, 0, full.width, int(end) + 24)), full.crop((0, int(top) - 90, full.width, int(top) + 560))]


def interface(page: Page, address: str) -> list[Image.Image]:
    """The sweep's view: images side by side, charts."""
    page.add_init_script(QUIET)
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_timeout(20_000)
    return [Image.open(io.BytesIO(page.screenshot()))]


def write(parts: list[Image.Image], path: Path) -> None:
    """The parts below each other, in few colours: small files."""
    parts = [part.convert("RGB") for part in parts]
    whole = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    whole = whole.resize((WIDTH, whole.height * WIDTH // whole.width), Image.Resampling.LANCZOS)
    whole.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main(home: Path, study: str) -> None:
    command = [sys.executable, "-m", "pipeline", "ui", "--links", "--json", "--study", study]
    environment = {**os.environ, "CVAE_PIPE_HOME": str(home)}
    links = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        write(report(page, home / "reports" / study / "report.html"), DOCS / "report.png")
        write(interface(page, links["view"]), DOCS / "mlflow.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])
