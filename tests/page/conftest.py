# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Chromium, which looks at reports of made up fleets as a person would.

Debian's, by Playwright: nothing is downloaded, and no page may ask for anything.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        # In a sandbox of its own, no root would have one.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a report; at the end of the test nothing has been asked for but the page, and nothing was complained of."""
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.as_html import as_html

    contexts: list[Any] = []
    asked: list[str] = []
    complaints: list[str] = []
    path = tmp_path / "report.html"

    def open_(report: dict[str, Any], **settings: Any) -> Page:
        path.write_text(as_html(report), encoding="utf-8")
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert [url for url in asked if url.partition("#")[0] != path.as_uri()] == []
    assert complaints == []
