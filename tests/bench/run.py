# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Measure headroom.netfilter.tune against a ping and the usual playbook, and write docs/benchmarks.md.

Twenty hosts over SSH on loopback, all plays alternating in one run. Needs root. `make bench` calls it.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from tests import peers
from tests.bench import hosts, live, page, plays
from tests.bench.plays import Play

REPO = Path(__file__).resolve().parent.parent.parent

HOSTS, ROUNDS = 20, 5
TUNE = "headroom.netfilter.tune"
OWN = REPO / "tests/bench/playbooks"

# The order of a round. What changes everything begins with new hosts, and leaves them as the plays after it need them.
PLAYS = (
    Play(f"tune, {page.EVERYTHING}, {page.WAVES}", TUNE, changes=True),
    Play(f"tune, {page.EVERYTHING}", TUNE, changes=True, limit=2.5, options=page.AT_ONCE),
    Play(page.BASE, f"{OWN}/ping.yml"),
    Play(f"tune, {page.NOTHING}", TUNE, limit=1.20),
    Play("conntrack_facts", f"{OWN}/facts.yml", limit=1.2),
    Play(f"{page.BASE}, {page.PIPELINED}", f"{OWN}/ping.yml", environment=page.PIPELINING),
    Play(f"tune, {page.NOTHING}, {page.PIPELINED}", TUNE, environment=page.PIPELINING),
    Play(f"usual playbook, {page.EVERYTHING}", f"{OWN}/usual.yml", changes=True),
    Play(f"usual playbook, {page.NOTHING}", f"{OWN}/usual.yml"),
)
LIMITS = {play.name: play.limit for play in PLAYS if play.limit}


def main() -> int:
    arguments = parse()
    if obstacle := missing(arguments):
        print(obstacle, file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        times, setting = measure(arguments)
    except (peers.Failure, plays.Failure, RuntimeError) as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"\n{page.table(times)}")
    if arguments.rounds >= ROUNDS:
        options = "" if arguments.rounds == ROUNDS else f" EXTRA='--rounds {arguments.rounds}'"
        arguments.page.write_text(page.render(times, setting, LIMITS, HOSTS, options))
        print(f"\nwritten: {arguments.page}")
    passed = beyond(times)
    for sentence in passed:
        print(sentence, file=sys.stderr)
    return 1 if passed else 0


def measure(arguments: argparse.Namespace) -> tuple[page.Times, page.Setting]:
    """All rounds on hosts that exist, and kernel values that are changed, only meanwhile."""
    with contextlib.ExitStack() as undo:
        home = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp")))  # sockets: short
        arguments.cache.mkdir(parents=True, exist_ok=True)
        collections = [arguments.collections, peers.collections(arguments.cache)]
        undo.enter_context(live.kept())
        twenty = undo.enter_context(hosts.running(home, HOSTS))
        player = plays.Player(twenty, arguments.ansible_playbook, collections, arguments.cache / "failed.log")
        setting = page.machine() | player.setting()
        times: page.Times = {play.name: [] for play in PLAYS}
        for number in range(arguments.rounds + 1):
            for play in PLAYS:
                if play.changes:
                    twenty.fresh()
                    live.to_defaults()
                seconds = player.seconds(play)
                print(f"{f'round {number}' if number else 'warm-up'}  {play.name:<38}{seconds:7.2f} s", flush=True)
                if number:
                    times[play.name].append(seconds)
        return times, setting


def beyond(times: page.Times) -> list[str]:
    """The limits that were passed, a sentence each."""
    ratios = page.ratios(times)
    return [
        f"{name} took {ratios[name]:.2f} times the ping; the limit is {limit}"
        for name, limit in LIMITS.items()
        if ratios[name] > limit
    ]


def parse(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--rounds", type=int, default=ROUNDS, help=f"counted rounds (default {ROUNDS}; fewer write no page)")
    option("--collections", type=Path, metavar="PATH", help="holds ansible_collections/headroom/netfilter")
    option("--ansible-playbook", metavar="PATH", help="the program that runs the plays")
    option("--cache", type=Path, metavar="PATH", help="keeps what is downloaded")
    option("--page", type=Path, metavar="PATH", help="where to write the page")
    parser.set_defaults(
        collections=REPO / ".cache/collections",
        ansible_playbook=str(Path(sys.executable).with_name("ansible-playbook")),
        cache=REPO / ".cache/bench",
        page=REPO / "docs/benchmarks.md",
    )
    arguments = parser.parse_args(given)
    if arguments.rounds < 1:
        parser.error("--rounds: at least one")
    return arguments


def missing(arguments: argparse.Namespace) -> str:
    """What keeps the bench from running here, as a sentence; empty if nothing does."""
    if not shutil.which(arguments.ansible_playbook):
        return f"{arguments.ansible_playbook} is not a program: name one with --ansible-playbook, or run make bench."
    if not (arguments.collections / "ansible_collections/headroom/netfilter").is_dir():
        return f"{arguments.collections} holds no headroom.netfilter: name another --collections, or run make bench."
    if not shutil.which("sysctl"):
        return "make bench runs the usual playbook, which needs the program sysctl: install procps."
    return hosts.missing() or live.missing()


def stop(number: int, _frame: object) -> NoReturn:
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # once is enough: what was begun is being put back
        signal.signal(other, signal.SIG_IGN)
    print("stopping: the hosts go and the kernel's values are put back", file=sys.stderr)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
