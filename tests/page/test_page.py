# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""report.html in Chromium: what a person does with it, with a mouse or without, and what nobody can do to it."""

from __future__ import annotations

import functools

import pytest
from axe_playwright_python.sync_playwright import Axe

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import accept, between
from ansible_collections.headroom.netfilter.tests.page import fleet
from ansible_collections.headroom.netfilter.tests.unit import reports

# Hosts of the fleet, and rows of the table at a time.
COUNT, PART = 250, 50


@functools.cache
def whole():
    """A fleet with every part there is."""
    report = fleet.report(COUNT)
    entries = [
        {"id": "established-five-days", "hosts": "db*", "reason": "moved by then", "until": "2026-12-31"},
        {"id": "lost-at-boot", "hosts": "*", "reason": "was due", "until": "2026-01-31"},
    ]
    return between.since(fleet.report(COUNT - 20, 2), accept.accept(report, accept.read(entries)))


def column(page, number):
    return page.locator(f"#rows tr > :nth-child({number})").all_inner_texts()


def status(page):
    return page.inner_text("#status")


def test_it_shows_the_fleet_at_a_glance(opened):
    page = opened(whole())
    assert status(page) == f"{COUNT} of {COUNT} hosts"
    captions = page.locator(".bars caption").all_inner_texts()
    assert captions[:3] == ["Hosts by worst finding", "What arrived", "Share of the limit in use"]
    worsts = [host["worst"] for host in whole()["hosts"]]
    told = page.locator(".bars").first.locator("tbody tr").first.inner_text().split()
    assert told == ["critical", str(worsts.count("critical"))]
    assert page.locator("#rows tr").count() == PART


def test_it_sorts(opened):
    page = opened(whole())
    page.click("#heads >> text=in use")
    found = [float(text.split()[0]) for text in column(page, 4)]
    assert found == sorted(found, reverse=True)
    assert page.get_attribute("[data-key=usage]", "aria-sort") == "descending"
    page.click("#heads >> text=in use")
    assert page.get_attribute("[data-key=usage]", "aria-sort") == "ascending"
    page.click("#heads >> text=host")
    assert page.get_attribute("[data-key=usage]", "aria-sort") is None
    assert column(page, 1) == sorted(host["name"] for host in whole()["hosts"])[:PART]
    for _time in range(4):
        page.click("#next")
    assert page.inner_text("#place") == "part 5 of 5"
    assert page.is_disabled("#next")
    # What is not known comes last.
    page.click("#heads >> text=limit")
    for _time in range(4):
        page.click("#next")
    assert column(page, 6)[-1] == "-"


def test_it_is_narrowed_down(opened):
    page = opened(whole())
    hosts = whole()["hosts"]
    page.fill("#search", "GW lost-at-boot")
    wanted = [host["name"] for host in hosts if host["name"].startswith("gw") and "boot" in host["loses"]]
    assert wanted
    assert column(page, 1) == wanted
    page.click("#clear")
    page.select_option("#state", "unreachable")
    assert set(column(page, 2)) == {"unreachable"}
    page.click("#clear")
    page.select_option("#worst", "critical")
    page.select_option("#loses", "reload")
    wanted = [host["name"] for host in hosts if host["worst"] == "critical" and "reload" in host["loses"]]
    assert column(page, 1) == wanted[:PART]
    page.fill("#search", "nothing at all has this")
    assert status(page) == f"0 of {COUNT} hosts"


def test_a_bar_narrows_down_to_its_hosts(opened):
    page = opened(whole())
    page.click("[data-choice='worst=critical']")
    count = sum(host["worst"] == "critical" for host in whole()["hosts"])
    assert status(page) == f"{count} of {COUNT} hosts"
    page.click(".bars >> [data-choice^='host=']")
    assert status(page) == f"1 of {COUNT} hosts"


def test_it_opens_a_host(opened):
    page = opened(whole())
    host = next(host for host in whole()["hosts"] if host["loses"] == ["boot", "reload"])
    page.fill("#search", host["name"])
    page.click("#rows a")
    assert page.inner_text("#opened-name") == host["name"]
    told = page.inner_text("#opened")
    (line,) = [one["source"] for one in host["boot"] if one["key"].endswith("conntrack_max")]
    wanted = [line, "What a reload will leave", "What tune would change", "lost-at-boot", str(host["table"]["max"])]
    wanted += [finding["seen"] for finding in host["findings"]] + host["plan"]["diff"].splitlines()[:3]
    assert [text for text in wanted if text not in told] == []
    page.click("text=Back to the table")
    assert page.is_hidden("#opened")


def test_every_host_is_told_as_it_was_read(opened):
    hosts = reports.golden_hosts()
    page = opened(reports.report(*hosts, reports.unreachable("gone")))
    for host in reports.report(*hosts)["hosts"]:
        page.fill("#search", host["name"])
        page.click(f"#rows >> text='{host['name']}'")
        told = " ".join(page.inner_text("#opened").split())
        sources = [one["source"] for event in ("boot", "reload") for one in host[event]]
        wanted = [" ".join(text.split()) for text in sources + [one["remedy"] for one in host["findings"]]]
        assert [text for text in wanted if text not in told] == []
    page.fill("#search", "gone")
    page.click("#rows >> text='gone'")
    assert "no route to host" in page.inner_text("#opened")


def test_the_keyboard_is_enough(opened):
    page = opened(whole())

    def focused():
        return page.evaluate("document.activeElement.id || document.activeElement.textContent")

    page.keyboard.press("Tab")
    assert focused() == "To the table of hosts"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused() == "search"
    page.keyboard.type("web")
    for name in ("worst", "state", "finding", "loses", "owner", "clear"):
        page.keyboard.press("Tab")
        assert focused() == name
    page.keyboard.press("Tab")  # the table, which can be scrolled
    page.keyboard.press("Tab")
    assert focused() == "host"
    page.keyboard.press("Enter")
    assert page.get_attribute("[data-key=name]", "aria-sort") == "ascending"
    for _column in range(10):
        page.keyboard.press("Tab")
    first = column(page, 1)[0]
    assert first.startswith("web")
    assert focused() == first
    page.keyboard.press("Enter")
    page.wait_for_selector("#opened:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "opened-name"
    assert page.inner_text("#opened-name") == first
    # Where the focus is can be seen.
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme):
    page = opened(whole(), color_scheme=scheme)
    page.fill("#search", "lost-at-boot")
    page.click("#rows a")
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    serious = {
        one["id"]: [node["html"] for node in one["nodes"]] for one in found if one["impact"] in ("serious", "critical")
    }
    assert serious == {}


def test_light_and_dark_are_the_persons_choice(opened):
    backs = [
        opened(reports.report(reports.read("a")), color_scheme=scheme).evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        for scheme in ("light", "dark")
    ]
    assert backs == ["rgb(255, 255, 255)", "rgb(21, 24, 28)"]


def test_on_paper_there_are_the_hosts_and_no_controls(opened):
    page = opened(whole())
    page.fill("#search", "gw000 lost-at-boot")
    left = len(column(page, 1))
    assert 0 < left <= 25
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#printed > section").count() == left
    assert page.is_hidden("#controls")
    assert page.pdf().startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#printed > section").count() == 0
    page.emulate_media(media="screen")
    page.fill("#search", "")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(column(page, 1)) == COUNT


@pytest.mark.parametrize("name", reports.HOSTILE, ids=ascii)
def test_what_a_host_is_called_does_nothing(opened, name):
    """Nor what it says."""
    host = reports.read(name, {"table.count": 8000})
    host["findings"] = [{**finding, "seen": name, "remedy": name} for finding in host["findings"]]
    host["owners"] = [{"name": name, "keys": {name: 1}, "evidence": name, "path": None, "line": None, "remedy": name}]
    host["plan"]["diff"] = "+" + name
    page = opened(reports.report(host, reports.unreachable("gone", name)))
    page.click("#rows a >> nth=0")
    assert page.title() == "Connection tracking"
    assert page.locator("img, iframe, object, embed, form:not(#controls)").count() == 0
    assert page.locator("script").count() == 3
    assert page.inner_text("#opened-name").strip()


def test_no_script_runs_but_the_pages_own(browser, tmp_path):
    """Where text became markup all the same, the page's policy would keep it from running."""
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.as_html import as_html

    (tmp_path / "report.html").write_text(as_html(reports.report(reports.read("a"))), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    page.evaluate("""() => {
        const made = document.createElement("script");
        made.textContent = "document.title = 'taken'";
        document.body.append(made);
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=\\"document.title='taken'\\">");
    }""")
    page.wait_for_timeout(200)
    assert page.title() == "Connection tracking"
    page.close()


def test_without_scripts_it_still_says_how_the_fleet_is(opened):
    page = opened(whole(), java_script_enabled=False)
    assert "needs the script of this page" in page.inner_text("noscript")
    assert "critical" in page.inner_text(".bars >> nth=0")


def test_it_has_what_has_changed_and_what_is_accepted(opened):
    page = opened(whole())
    assert f"New findings: {len(whole()['since']['findings_new'])}" in page.inner_text("main")
    assert "established-five-days on db* until 2026-12-31: moved by then" in page.inner_text("main")
    assert "lost-at-boot on * until 2026-01-31, which is over: was due" in page.inner_text("main")
    page.fill("#search", "db established-five-days")
    page.click("#rows a >> nth=0")
    assert "accepted until 2026-12-31: moved by then" in page.inner_text("#opened")


def test_narrowing_down_is_quick(opened):
    """A tenth of the fleet of tests/bench/reports.py, which measures it; what else this machine does at the time is not the page's."""
    page = opened(fleet.report(1000))
    took = page.evaluate("""() => {
        const search = document.getElementById("search");
        return Array(4).fill(["w", "web", "web00", "lost", ""]).flat().map((words) => {
            const begun = performance.now();
            search.value = words;
            search.dispatchEvent(new Event("input", { bubbles: true }));
            document.body.getBoundingClientRect();
            return performance.now() - begun;
        });
    }""")
    assert min(took) < 100
