# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Measure a report of 10,000 hosts, made and looked at in Chromium, and audits of up to 1000 beside a ping; write docs/large-reports.md.

usage: python -m tests.bench.reports [--hosts 10000] [--rounds 5]

Needs the program chromium, and the environment of requirements-page.txt.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.bench import page as pages
from tests.bench.crowd import REPO, collection
from tests.page import fleet

HOSTS = 10000
CHROMIUM = shutil.which("chromium")
MB = 1000000
# Of audits: hosts, all of them this machine, and plays.
COUNTS, FORKS = (20, 200, 1000), 10
PLAYS = {
    "ping": [str(REPO / "tests/bench/playbooks/ping.yml")],
    "audit": ["headroom.netfilter.audit"],
    "audit with a report": ["headroom.netfilter.audit", "-e", "audit_report=report"],
}
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

## Audits

One `ansible-playbook` process from its start to its end, once, with {forks} forks. All hosts are this machine over local connections: what
is counted is what the controller and the modules do, and no ssh. *Memory* is of the largest of the controller's processes.

| play | hosts | | x ping | memory |
|---|---:|---:|---:|---:|
{audits}

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


class Audit(NamedTuple):
    play: str
    hosts: int
    seconds: float
    memory: int  # MiB


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
        audits = list(audited(folder, arguments.most))
    found |= {"made": found["read"] + found["written"], "page": sizes["html"], "json": sizes["json"], "memory": memory}
    for name, figure in found.items():
        bound = LIMITS.get(name)
        print(f"{name}: {figure:.1f}" + (f", limit {bound}" if bound else ""))
    if arguments.hosts >= HOSTS and arguments.rounds >= 5 and arguments.most >= COUNTS[-1]:
        text = PAGE.format(
            hosts=f"{arguments.hosts:,}",
            kinds=len(fleet.KINDS),
            rounds=arguments.rounds,
            limits=LIMITS,
            forks=FORKS,
            audits=table(audits),
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


def audited(folder: str, most: int) -> Iterator[Audit]:
    """The first run of all is not counted."""
    for count in (1, *(count for count in COUNTS if count <= most)):
        names = [f"host{number:04} ansible_connection=local" for number in range(count)]
        Path(folder, "hosts").write_text("\n".join(names) + "\n")
        for play, words in PLAYS.items():
            begun = time.monotonic()
            _pid, status, used = os.wait4(started(folder, words).pid, 0)
            took = time.monotonic() - begun
            if status:
                raise SystemExit(f"{play} over {count} hosts: {Path(folder, 'log').read_text()[-2000:]}")
            if count > 1:
                print(f"{play}, {count} hosts: {took:.1f} s", flush=True)
                yield Audit(play, count, took, used.ru_maxrss // 1024)


def started(folder: str, words: list[str]) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    own = {
        "ANSIBLE_COLLECTIONS_PATH": sys.path[0],
        "ANSIBLE_FORKS": str(FORKS),
        "ANSIBLE_HOME": f"{folder}/ansible",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": shutil.which("python3", path="/usr/bin") or sys.executable,
        "LC_ALL": "C.UTF-8",
    }
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    with Path(folder, "log").open("wb") as log:
        return subprocess.Popen(
            [program, "-i", "hosts", *words],
            cwd=folder,
            env=kept | own,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def table(audits: list[Audit]) -> str:
    pings = {one.hosts: one.seconds for one in audits if one.play == "ping"}
    return "\n".join(
        f"| {one.play} | {one.hosts} | {one.seconds:.1f} s | {one.seconds / pings[one.hosts]:.2f} | {one.memory} MiB |"
        for one in audits
    )


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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=int, default=COUNTS[-1], help="hosts of an audit")
    sys.exit(main(parser.parse_args()))
