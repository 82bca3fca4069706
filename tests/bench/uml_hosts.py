# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Measure headroom.netfilter.tune against a ping on hosts that have connection tracking as a module; write docs/module-hosts.md.

Five user-mode guests, each with a kernel of its own, all plays alternating in one run, as tests.bench.run does it over hosts
that share a kernel which has it built in. Needs what the guests need. `make bench` calls it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
import images
import uml

from tests.bench import hosts, page, plays
from tests.bench.plays import Play
from tests.bench.run import OWN, REPO, TUNE

HOSTS, ROUNDS = 5, 5
PLAYS = (
    Play(f"tune, {page.EVERYTHING}", TUNE, changes=True, limit=3.0, options=page.AT_ONCE),
    Play(page.BASE, f"{OWN}/ping.yml"),
    Play(f"tune, {page.NOTHING}", TUNE, limit=1.25),
    Play("conntrack_facts", f"{OWN}/facts.yml"),
)
PAGE = """\
<!--
SPDX-License-Identifier: GPL-3.0-or-later
Copyright: headroom.netfilter maintainers
-->

# Hosts that have connection tracking as a module

Written by `make bench`, and only by it: run that again rather than edit this page.

How long a run over {hosts} user-mode guests takes, each with a kernel of its own, in units of a play that only pings:

```text
{bars}
```

{table}

Limits, which `make bench` enforces:

{limits}

Medians of {rounds} rounds after one that is not counted, all plays alternating, as in [benchmarks.md](benchmarks.md). A guest's kernel
is a process of this machine and runs on one of its processors, several times slower than the machine itself: only ratios mean
anything. *Everything to change*: no file of the role is there, the module has just been loaded without one, and
all hosts are changed at once.

| | |
|---|---|
{setting}
"""
FRESH = f"""
rm -rf {" ".join(hosts.MANAGED)} /var/lib/headroom
udevadm control --reload
modprobe -r nf_conntrack && modprobe nf_conntrack
sync
"""


class Modules(hosts.Hosts):
    """The guests, as hosts of a bench."""

    def __init__(self, home: Path, guests: list[uml.Guest]) -> None:
        self.home = home
        self.known_hosts = home / "known_hosts"
        self.client_key = home / "client"
        self.guests = guests
        self.all = [hosts.Host(guest.name, guest.port) for guest in guests]
        self.client_key.symlink_to(images.key())
        lines = [f"[127.0.0.1]:{guest.port} {guest.run('cat /etc/ssh/ssh_host_ed25519_key.pub')}" for guest in guests]
        self.known_hosts.write_text("".join(lines))

    def fresh(self) -> None:
        """As they were: what a play wrote is gone, and the module is loaded without it."""
        uml.each(self.guests, lambda guest: guest.run(FRESH))


def measure(arguments: argparse.Namespace) -> tuple[page.Times, page.Setting]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder,
        uml.running(Path(folder, "lab"), arguments.hosts) as guests,
    ):
        five = Modules(Path(folder), guests)
        arguments.cache.mkdir(parents=True, exist_ok=True)
        log = arguments.cache / "failed-uml.log"
        player = plays.Player(five, arguments.ansible_playbook, [arguments.collections], log)
        module = {"connection tracking": f"a module, on kernels {guests[0].run('uname -r').strip()} in user mode"}
        setting = page.machine() | player.setting() | module
        times: page.Times = {play.name: [] for play in PLAYS}
        for number in range(arguments.rounds + 1):
            for play in PLAYS:
                if play.changes:
                    five.fresh()
                seconds = player.seconds(play)
                print(f"{f'round {number}' if number else 'warm-up'}  {play.name:<38}{seconds:7.2f} s", flush=True)
                if number:
                    times[play.name].append(seconds)
        return times, setting


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--hosts", type=int, default=HOSTS, help=f"guests (default {HOSTS})")
    option("--rounds", type=int, default=ROUNDS, help=f"counted rounds (default {ROUNDS})")
    option("--collections", type=Path, metavar="PATH", help="holds ansible_collections/headroom/netfilter")
    option("--page", type=Path, metavar="PATH", help="where the page is written, after full rounds over all guests")
    option("--ansible-playbook", metavar="PATH", help="the program that runs the plays")
    option("--cache", type=Path, metavar="PATH", help="keeps the output of a play that failed")
    parser.set_defaults(
        collections=REPO / ".cache/collections",
        ansible_playbook=str(Path(sys.executable).with_name("ansible-playbook")),
        cache=REPO / ".cache/bench",
        page=REPO / "docs/module-hosts.md",
    )
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    if reason := uml.lack():
        print(f"no user-mode guests on this machine: {reason}", file=sys.stderr)
        return 2
    try:
        times, setting = measure(arguments)
    except (plays.Failure, images.Failed) as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"\n{page.table(times)}\n")
    ratios, limits = page.ratios(times), {play.name: play.limit for play in PLAYS if play.limit}
    if arguments.rounds >= ROUNDS and arguments.hosts >= HOSTS:
        arguments.page.write_text(
            PAGE.format(
                hosts=arguments.hosts,
                rounds=arguments.rounds,
                bars=page.bars(times),
                table=page.table(times),
                limits=page.held(times, limits),
                setting=page.settings(setting),
            ),
            encoding="utf-8",
        )
        print(f"written: {arguments.page}")
    passed = {name: limit for name, limit in limits.items() if ratios[name] > limit}
    for name, limit in passed.items():
        print(f"{name} took {ratios[name]:.2f} times the ping; the limit is {limit}", file=sys.stderr)
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
