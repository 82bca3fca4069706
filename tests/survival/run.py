# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Apply each recipe to a host of each release, let each event happen to it, and write docs/survival.md.

Needs what the lab needs. What a run measures replaces what earlier runs have measured of the same releases and recipes.
`make survival` calls it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import peers
from tests.guests import FILES, REPO, SETTLED, Failure, Guest, Lab
from tests.survival import page
from tests.survival.events import EVENTS, SETUPS, Event, Setup

OWN = REPO / "tests/survival"
CACHE = REPO / ".cache/survival"
LAB = Lab(CACHE / "lab")
EQUIPMENT = {
    "/usr/local/sbin/poller": OWN / "poller",
    "/etc/systemd/system/poller.service": OWN / "poller.service",
    "/usr/local/sbin/iptables-service": FILES / "iptables-service",
    "/usr/local/sbin/unload-conntrack": FILES / "unload-conntrack",
    "/etc/systemd/system/iptables.service": FILES / "iptables.service",
}
READ = """
cd /proc/sys/net/netfilter 2>/dev/null || cd /
for key in nf_conntrack_max nf_conntrack_buckets nf_conntrack_expect_max nf_conntrack_*_timeout*; do
    case $key in *frag6*) continue ;; esac
    if [ -r $key ]; then echo "value $key $(cat $key)"; fi
done
echo "module $(stat -c %i /sys/module/nf_conntrack 2>/dev/null || true)"
echo "lowest $(cat /run/lowest 2>/dev/null || true)"
"""
TRIES = 4


class NoEvent(Failure):
    """The event has not done what it is about."""


def read(guest: Guest) -> tuple[dict[str, int], str, int | None]:
    """The values, what tells one load of the module from another, and the lowest limit seen (entries)."""
    words = [line.split() for line in guest.run(READ).splitlines()]
    values = {line[1]: int(line[2]) for line in words if line[0] == "value"}
    rest = {line[0]: (line + [""])[1] for line in words if line[0] != "value"}
    return values, rest["module"], int(rest["lowest"]) if rest["lowest"] else None


def apply(recipe: str, setup: Setup, release: str, collections: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        *("-i", str(CACHE / "lab/inventory.yml"), "--limit", release, str(OWN / f"recipes/{recipe}.yml")),
        *("-e", json.dumps(setup.variables)),
    ]
    paths = f"{REPO / '.cache/collections'}{os.pathsep}{collections}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    own = {"ANSIBLE_COLLECTIONS_PATH": paths, "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        command, env={**kept, **own}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failure(f"{recipe} on {release}:\n{done.stdout}{done.stderr}")


def happen(guest: Guest, event: Event, recipe: str) -> page.Cell:
    """One event, to a host on which the recipe has just been applied."""
    before, loaded, _unseen = read(guest)
    guest.run(f"{event.before}; {SETTLED}; systemctl {'enable' if event.reboots else 'start'} poller; sleep 1")
    if event.reboots:
        guest.reboot(event.commands)
        guest.run(f"{event.after}; {SETTLED}")
    else:
        guest.run(f"{event.commands}; {SETTLED}")
    after, now, lowest = read(guest)
    reloaded = event.reboots or now != loaded
    if event.reloads and not reloaded:
        raise NoEvent(f"{guest.release}: the module was not unloaded by: {event.title}")
    return page.Cell(guest.release, recipe, event.number, reloaded, before, after, lowest)


class Measurement:
    """What has been asked for, what came of it, and what went wrong; each cell is written down as soon as it is there."""

    def __init__(self, recipes: list[str], events: list[int], collections: Path) -> None:
        self.recipes = recipes
        self.events = [event for event in EVENTS if event.number in events]
        self.collections = collections
        self.hosts: dict[str, dict[str, str]] = {}
        self.cells: list[page.Cell] = []
        self.failures: list[str] = []
        self._writing = threading.Lock()

    def of(self, release: str) -> None:
        guest = Guest(LAB, release)
        with self._noted():
            guest.place(EQUIPMENT)
            guest.run("chmod 644 /etc/systemd/system/*.service; systemctl daemon-reload")
            guest.snapshot("save", "equipped")
            for recipe in self.recipes:
                for setup in SETUPS:
                    with self._noted():
                        self._of_setup(guest, recipe, setup)

    def _of_setup(self, guest: Guest, recipe: str, setup: Setup) -> None:
        events = [event for event in self.events if event.setup == setup]
        if events:
            guest.snapshot("load", "equipped")
            guest.run(f"{setup.commands}; {SETTLED}")
            apply(recipe, setup, guest.release, self.collections)
            guest.snapshot("save", "applied")
        for event in events:
            started = time.monotonic()
            with self._noted():
                cell = self._happen(guest, event, recipe)
                told = f"{guest.release}, {page.NAMES.recipes[recipe][0]}, {event.title}: {page.verdict(cell)}"
                print(f"{time.strftime('%H:%M:%S')} {told} ({time.monotonic() - started:.0f} s)", flush=True)
                with self._writing:
                    self.cells.append(cell)
                    page.write([cell], self.hosts)
            guest.snapshot("load", "applied")

    def _happen(self, guest: Guest, event: Event, recipe: str) -> page.Cell:
        """A firewall cannot unload the module while the kernel has not let go of its rules: then it is tried again."""
        for _trial in range(TRIES - 1):
            with contextlib.suppress(NoEvent):
                return happen(guest, event, recipe)
            guest.snapshot("load", "applied")
        return happen(guest, event, recipe)

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except Failure as failure:
            print(failure, file=sys.stderr, flush=True)
            self.failures.append(str(failure))


def versions(release: str) -> dict[str, str]:
    said = Guest(LAB, release).run("uname -r; dpkg-query --show --showformat '${Version}' firewalld").split()
    return {"kernel": said[0], "firewalld": re.split("[-~+]", said[1])[0]}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, choices in (("release", page.RELEASES), ("recipe", page.NAMES.recipes), ("event", page.NAMES.events)):
        kind = type(next(iter(choices)))
        parser.add_argument(f"--{name}", nargs="+", type=kind, choices=list(choices), default=list(choices))
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    try:
        measurement = Measurement(arguments.recipe, arguments.event, peers.collections(CACHE))
        with LAB.up(arguments.release):
            for release in arguments.release:
                measurement.hosts[release] = host = versions(release)
                print(f"{release}: kernel {host['kernel']}, firewalld {host['firewalld']}", flush=True)
            with ThreadPoolExecutor(len(arguments.release)) as pool:
                list(pool.map(measurement.of, arguments.release))
    except (Failure, peers.Failure) as failure:
        sys.exit(str(failure))
    print("written: docs/survival.md, README.md, tests/survival/measured.json")
    moved = [cell for cell in measurement.cells if cell.recipe == "role" and not cell.kept]
    for cell in moved:
        title = page.NAMES.events[cell.event]
        print(f"{cell.release}: this role did not keep all through {title}: {page.verdict(cell)}", file=sys.stderr)
    if measurement.failures:
        print(f"{len(measurement.failures)} could not be measured, as said above", file=sys.stderr)
    return 1 if measurement.failures or moved else 0


if __name__ == "__main__":
    sys.exit(main())
