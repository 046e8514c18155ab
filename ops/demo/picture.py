"""The picture of the demo's report that the README shows: ``python -m ops.demo.picture``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ops.console import errors_as_status, out
from ops.demo.offline import DAYS, METERS, demo_options, run_offline
from ops.report.browser import chromium

PICTURE = Path(__file__).with_name("report.png")
_WIDTH, _HEIGHT = 1400, 900
_SECTIONS = ("losses", "area", "network")


def main() -> None:
    """Run the demo, and photograph the page's head and some of its figures."""
    with errors_as_status(), tempfile.TemporaryDirectory() as folder, chromium() as browser:
        ran = run_offline(Path(folder), demo_options(METERS, DAYS, 1))
        page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT})
        page.goto(ran.report.absolute().as_uri())
        page.wait_for_selector("html[data-drawn=true]", state="attached")
        shown = ", ".join(f"#{name}" for name in _SECTIONS)
        page.add_style_tag(content=f"main section:not({shown}) {{ display: none }} nav {{ display: none }}")
        page.screenshot(path=PICTURE, full_page=True)
    out.print(f"made {PICTURE}", markup=False)


if __name__ == "__main__":
    main()
