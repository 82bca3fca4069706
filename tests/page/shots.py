# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Pictures of report.html for docs/report.md, of a made up fleet of 120 hosts: light, dark, and on paper.

usage: python -B -m tests.page.shots
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.bench.crowd import REPO, collection
from tests.page import fleet
from tests.page.conftest import CHROMIUM

SIZE = {"width": 1100, "height": 900}


def main() -> None:
    with collection(), tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.as_html import as_html

        path = Path(folder) / "report.html"
        path.write_text(as_html(fleet.report(120)), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=SIZE, color_scheme=scheme)
            page.goto(path.as_uri())
            if scheme == "dark":
                page.fill("#search", "lost-at-boot")
                page.click("#rows a >> nth=0")
            page.screenshot(path=REPO / f"docs/report-{scheme}.png")
            page.close()
        page = browser.new_page(viewport={"width": 794, "height": 1123}, color_scheme="dark")
        page.goto(path.as_uri())
        page.fill("#search", "gw lost-at-boot")
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=REPO / "docs/report-print.png")
        browser.close()
    print("written: docs/report-light.png, docs/report-dark.png, docs/report-print.png")


if __name__ == "__main__":
    main()
