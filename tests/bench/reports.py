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
(tests/page/fleet.py). Medians of {rounds} rounds.

| what | | limit |
|---|---:|---:|
| findings and plans of all hosts | {read:.1f} s | |
| its five files made and written | {written:.1f} s | |
| both | {made:.1f} s | {limits[made]} s |
| report.html | {page:.1f} MB | {limits[page]} MB |
| report.json | {json:.1f} MB | |
| memory of the controller | {memory} MiB | |
| page opened: first paint | {painted:.0f} ms | {limits[painted]} ms |
| page opened: its table is there | {ready:.0f} ms | |
| narrowed down by a word | {narrowed:.0f} ms | {limits[narrowed]} ms |
| sorted by a column | {sorted:.0f} ms | |
| the first host opened | {opened:.0f} ms | |
| another host opened | {again:.0f} ms | |

*Made* begins with the facts as they came from the hosts, and does not count reading them. Narrowed down, sorted and opened are until the
next frame. The page is a file on the same machine.

## Where

| | |
|---|---|
{setting}
"""

# Milliseconds of a click or a word, until the next frame.
FRAME = """
const frame = (act) => new Promise((done) => {
  const begun = performance.now();
  act();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
});
const type = (words) => () => {
  document.getElementById("search").value = words;
  document.getElementById("search").dispatchEvent(new Event("input", { bubbles: true }));
};
"""
LOOKED = (
    "async () => {"
    + FRAME
    + """
  const found = { narrowed: [], sorted: [] };
  for (const words of ["w", "web", "web0", "lost-at-boot", "debian", "zzz", ""]) found.narrowed.push(await frame(type(words)));
  for (const head of document.querySelectorAll("#heads button")) found.sorted.push(await frame(() => head.click()));
  const links = document.querySelectorAll("#rows a");
  const open = (link) => () => { location.hash = link.hash; dispatchEvent(new HashChangeEvent("hashchange")); };
  found.opened = await frame(open(links[0]));
  found.again = await frame(open(links[1]));
  found.painted = performance.getEntriesByName("first-contentful-paint")[0].startTime;
  return found;
}"""
)


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
        rounds = [made(answers, folder) for _round in range(arguments.rounds)]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        looked = look(Path(folder, "report.html"), arguments.rounds)
        found = {name: median(one[name] for one in rounds) for name in rounds[0]}
        found |= {name: median(one[name] for one in looked) for name in looked[0]}
        sizes = {form: Path(folder, f"report.{form}").stat().st_size / MB for form in ("html", "json")}
    found |= {"made": found["read"] + found["written"], "page": sizes["html"], "json": sizes["json"], "memory": memory}
    for name, figure in found.items():
        bound = LIMITS.get(name)
        print(f"{name}: {figure:.1f}" + (f", limit {bound}" if bound else ""))
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
    return 1 if any(found[name] > bound for name, bound in LIMITS.items()) else 0


def made(answers: list[tuple[str, dict[str, Any]]], folder: str) -> dict[str, float]:
    """Seconds."""
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import store

    begun = time.perf_counter()
    reader = model.Reader()
    report = model.made((reader.host(name, answer, {}) for name, answer in answers), fleet.WHEN)
    read = time.perf_counter()
    store.write(store.files(store.Asked(path=folder), report), False)
    return {"read": read - begun, "written": time.perf_counter() - read}


def look(path: Path, rounds: int) -> list[dict[str, float]]:
    """Milliseconds, each time in a new window."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for _round in range(rounds):
            page = browser.new_page(viewport={"width": 1200, "height": 800})
            page.goto(path.as_uri())
            page.wait_for_function("document.getElementById('status').textContent")
            ready = page.evaluate("performance.now()")
            figures = page.evaluate(LOOKED)
            # The slowest of each.
            found.append({**figures, "ready": ready, **{name: max(figures[name]) for name in ("narrowed", "sorted")}})
            page.close()
        browser.close()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure a report of many hosts.")
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    sys.exit(main(parser.parse_args()))
