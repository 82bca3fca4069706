# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Measure a report of 10,000 hosts, made and looked at in Chromium, and write docs/large-reports.md.

usage: python -m tests.bench.reports [--hosts 10000] [--rounds 3]

Needs the program chromium, and the environment of requirements-page.txt.
"""

from __future__ import annotations

import argparse
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import page as pages
from tests.bench.crowd import REPO, collection
from tests.page import fleet

HOSTS, ROUNDS = 10000, 3
CHROMIUM = shutil.which("chromium")
MB = 1000000
# What is held of HOSTS: seconds to make it, MB of its page, and milliseconds until something is painted and until it is narrowed down.
LIMITS = {"made": 30, "page": 15, "painted": 2000, "narrowed": 100}

PAGE = """\
<!--
SPDX-License-Identifier: GPL-3.0-or-later
Copyright: headroom.netfilter maintainers
-->

# Large reports

Written by `python -m tests.bench.reports`, which `make bench` runs, and only by it: run that again rather than edit this page.

A [report](report.md) of {hosts} hosts: the facts of {kinds} real hosts, each with other memory, limits, files, flows and drops
(tests/page/fleet.py). It is made once and looked at {rounds} times; of words and columns the slowest counts, and of the times the median.

| what | wall | processor | limit |
|---|---:|---:|---:|
| findings and plans of all hosts | {read[0]:.1f} s | {read[1]:.1f} s | |
| its five files made and written | {written[0]:.1f} s | {written[1]:.1f} s | |
| both | {made[0]:.1f} s | {made[1]:.1f} s | {limits[made]} s |
| page opened: first paint | {painted[0]:.0f} ms | | {limits[painted]} ms |
| page opened: its table is there | {ready[0]:.0f} ms | | |
| narrowed down by a word | {narrowed[0]:.0f} ms | {narrowed[1]:.0f} ms | {limits[narrowed]} ms |
| sorted by a column | {sorted[0]:.0f} ms | {sorted[1]:.0f} ms | |
| the first host opened | {opened[0]:.0f} ms | {opened[1]:.0f} ms | |
| another host opened | {again[0]:.0f} ms | {again[1]:.0f} ms | |

report.html has {page:.1f} MB (limit {limits[page]}), report.json {json:.1f} MB; the process that made them took {memory} MiB at most.

*Processor* is of the one thread that does it, and what limits are held to where it is told: what else a machine does at the time makes the
wall clock longer. *Made* begins with the facts as they came from the hosts, and does not count reading them. Narrowed down, sorted and
opened are until the next frame. The page is a file on the same machine.

## Where

| | |
|---|---|
{setting}
"""

# Milliseconds of what is done, until the next frame.
FRAME = """([what, how]) => new Promise((done) => {{
  const begun = performance.now();
  ({})(what, how);
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
}})"""
TYPE = FRAME.format("""(words) => {
  document.getElementById("search").value = words;
  document.getElementById("search").dispatchEvent(new Event("input", { bubbles: true }));
}""")
SORT = FRAME.format("""(column) => document.querySelectorAll("#heads button")[column].click()""")
OPEN = FRAME.format("""(row) => {
  location.hash = document.querySelectorAll("#rows a")[row].hash;
  dispatchEvent(new HashChangeEvent("hashchange"));
}""")
WORDS = ("w", "web", "web0", "lost-at-boot", "debian", "zzz", "")
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"

# Of the wall, and of the processor.
Times = tuple[float, float]


def main(arguments: argparse.Namespace) -> int:
    if not CHROMIUM:
        print("install chromium, to look at the page.", file=sys.stderr)
        return 2
    setting = pages.machine()
    version = subprocess.run([CHROMIUM, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    setting |= {"browser": version.partition(" built")[0], "controller's Python": platform.python_version()}
    with collection(), tempfile.TemporaryDirectory() as folder:
        answers = list(fleet.answers(arguments.hosts))
        print(f"{len(answers)} hosts made up", flush=True)
        found: dict[str, Any] = made(answers, folder)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        looked = look(Path(folder, "report.html"), arguments.rounds)
        found |= {name: tuple(map(median, zip(*(one[name] for one in looked)))) for name in looked[0]}
        sizes = {form: Path(folder, f"report.{form}").stat().st_size / MB for form in ("html", "json")}
    found["made"] = tuple(map(sum, zip(found["read"], found["written"])))
    held = {
        "made": found["made"][1],
        "painted": found["painted"][0],
        "narrowed": found["narrowed"][1],
        "page": sizes["html"],
    }
    found |= {"page": sizes["html"], "json": sizes["json"], "memory": memory}
    for name, figure in found.items():
        print(f"{name}: {figure}" + (f", limit {LIMITS[name]}" if name in LIMITS else ""))
    if arguments.hosts >= HOSTS and arguments.rounds >= ROUNDS:
        text = PAGE.format(
            hosts=f"{arguments.hosts:,}",
            kinds=len(fleet.KINDS),
            rounds=arguments.rounds,
            limits=LIMITS,
            setting=pages.settings(setting),
            **found,
        )
        (REPO / "docs/large-reports.md").write_text(text, encoding="utf-8")
        print("written: docs/large-reports.md")
    return 1 if any(held[name] > bound for name, bound in LIMITS.items()) else 0


def made(answers: list[tuple[str, dict[str, Any]]], folder: str) -> dict[str, Times]:
    """Seconds."""
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import store

    begun = clock()
    reader = model.Reader()
    report = model.made((reader.host(name, answer, {}) for name, answer in answers), fleet.WHEN)
    read = clock()
    store.write(store.files(store.Asked(path=folder), report), False)
    return {"read": since(begun, read), "written": since(read, clock())}


def clock() -> Times:
    return time.perf_counter(), time.process_time()


def since(begun: Times, ended: Times) -> Times:
    return ended[0] - begun[0], ended[1] - begun[1]


def look(path: Path, rounds: int) -> list[dict[str, Times]]:
    """Milliseconds, each time in a new window."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for _round in range(rounds):
            page = browser.new_page(viewport={"width": 1200, "height": 800})
            page.goto(path.as_uri())
            page.wait_for_function("document.getElementById('status').textContent")
            figures = {"ready": (page.evaluate("performance.now()"), 0.0), "painted": (page.evaluate(PAINTED), 0.0)}
            page.wait_for_timeout(500)
            took = stopwatch(page)
            figures["narrowed"] = slowest(took(TYPE, words) for words in WORDS)
            figures["sorted"] = slowest(took(SORT, column) for column in range(10))
            figures |= {"opened": took(OPEN, 0), "again": took(OPEN, 1)}
            found.append(figures)
            page.close()
        browser.close()
    return found


def stopwatch(page: Any) -> Callable[[str, Any], Times]:
    """What tells milliseconds: those of the wall until the next frame, and those that the page's thread has worked."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return 1000 * float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

    def took(script: str, what: Any) -> Times:
        before = worked()
        wall = page.evaluate(script, [what, None])
        return float(wall), worked() - before

    return took


def slowest(times: Iterable[Times]) -> Times:
    """Of each kind of time."""
    wall, processor = zip(*times)
    return max(wall), max(processor)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure a report of many hosts.")
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    sys.exit(main(parser.parse_args()))
