# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Apply each recipe to a host of each release, let each event happen to it, and write docs/survival.md.

Needs what the lab needs. What a run measures replaces what earlier runs have measured of the same releases and recipes.
`make survival` calls it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(REPO)
sys.dont_write_bytecode = True

# Below the two lines that let them be found when this file is run as a program: hence E402 each time.
from tests import peers  # noqa: E402
from tests.survival import page  # noqa: E402
from tests.survival.events import EVENTS, SETUPS, Event, Setup  # noqa: E402

OWN = REPO / "tests/survival"
CACHE = REPO / ".cache/survival"
MEASURED = OWN / "measured.json"
LAB = (sys.executable, str(REPO / "tests/lab/lab.py"), "--at", str(CACHE / "lab"))
RELEASES = ("bullseye", "bookworm", "trixie")
NAMES = page.Names(
    {event.number: event.title for event in EVENTS},
    {
        "role": ("this role", "`headroom.netfilter.conntrack` without any variable, but told to leave the firewall's own "
                 "files alone where the event is about a firewall that unloads the module"),
        "sysctl_conf": ("sysctl.conf", "the limit and a timeout in `/etc/sysctl.conf`, and `sysctl -p`"),
        "modprobe_d": ("modprobe.d", "`options nf_conntrack hashsize=` in `/etc/modprobe.d`, the live values once by hand"),
        "modules": ("modules", f"`community.general.modprobe` with `params` and `persistent`, `ansible.posix.sysctl` "
                    f"for four keys; both of {peers.SOURCE}"),
    },
)  # fmt: skip
EQUIPMENT = {
    "/usr/local/sbin/poller": OWN / "poller",
    "/etc/systemd/system/poller.service": OWN / "poller.service",
    "/usr/local/sbin/iptables-service": REPO / "tests/lab/files/iptables-service",
    "/usr/local/sbin/unload-conntrack": REPO / "tests/lab/files/unload-conntrack",
    "/etc/systemd/system/iptables.service": REPO / "tests/lab/files/iptables.service",
}
SETTLED = "udevadm settle; sleep 0.5; udevadm settle"
READ = """
cd /proc/sys/net/netfilter 2>/dev/null || cd /
for key in nf_conntrack_max nf_conntrack_buckets nf_conntrack_expect_max nf_conntrack_*_timeout*; do
    case $key in *frag6*) continue ;; esac
    if [ -r $key ]; then echo "value $key $(cat $key)"; fi
done
echo "module $(stat -c %i /sys/module/nf_conntrack 2>/dev/null || true)"
echo "lowest $(cat /run/lowest 2>/dev/null || true)"
"""
COMMAND_SECONDS, BOOT_SECONDS = 300, 600


class Failure(Exception):
    """What did not go as a measurement needs it to."""


class Guest:
    """A host of the lab, with the few things that are done to it."""

    def __init__(self, release: str) -> None:
        self.release = release
        inventory = json.loads((CACHE / "lab/inventory.yml").read_text())["all"]["children"]["lab"]
        port, key = inventory["hosts"][release]["ansible_port"], inventory["vars"]["ansible_ssh_private_key_file"]
        options = [
            *inventory["vars"]["ansible_ssh_common_args"].split(),
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=30",
        ]
        self._ssh = ["ssh", "-i", key, "-p", str(port), *options, "root@127.0.0.1"]

    def run(self, script: str) -> str:
        """What a script of Bash printed."""
        done = self._try("set -euo pipefail\n" + script)
        if done.returncode:
            raise Failure(f"{self.release}: exit code {done.returncode} of\n{script}\n{done.stdout}{done.stderr}")
        return done.stdout

    def equip(self) -> None:
        for target, source in EQUIPMENT.items():
            self.run(f"cat > {target} <<'END OF FILE'\n{source.read_text()}\nEND OF FILE\nchmod 755 {target}")
        self.run("chmod 644 /etc/systemd/system/*.service; systemctl daemon-reload")

    def read(self) -> tuple[dict[str, int], str, int | None]:
        """The values, what tells one load of the module from another, and the lowest limit seen (entries)."""
        words = [line.split() for line in self.run(READ).splitlines()]
        values = {line[1]: int(line[2]) for line in words if line[0] == "value"}
        rest = {line[0]: (line + [""])[1] for line in words if line[0] != "value"}
        return values, rest["module"], int(rest["lowest"]) if rest["lowest"] else None

    def reboot(self, commands: str) -> None:
        """Ends when it has come back, and all that starts has started."""
        boot = self.run("cat /proc/sys/kernel/random/boot_id")
        self._try(commands)
        deadline = time.monotonic() + BOOT_SECONDS
        back = "cat /proc/sys/kernel/random/boot_id"
        while (answer := self._try(back)).returncode or answer.stdout == boot:
            if time.monotonic() > deadline:
                raise Failure(f"{self.release} did not come back within {BOOT_SECONDS} seconds")
            time.sleep(1)
        self.run("systemctl is-system-running --wait || true")

    def snapshot(self, verb: str, name: str) -> None:
        lab(verb, name, self.release)

    def _try(self, script: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [*self._ssh, "bash -s"],
                input=script,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise Failure(f"{self.release}: not done within {COMMAND_SECONDS} seconds:\n{script}") from late


def lab(*words: str) -> None:
    done = subprocess.run([*LAB, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(done.stdout + done.stderr)


def apply(recipe: str, setup: Setup, release: str, collections: Path) -> None:
    command = [
        Path(sys.executable).with_name("ansible-playbook"),
        *("-i", CACHE / "lab/inventory.yml", "--limit", release, OWN / f"recipes/{recipe}.yml"),
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
    before, loaded, _unseen = guest.read()
    guest.run(f"{event.before}; {SETTLED}; systemctl {'enable' if event.reboots else 'start'} poller; sleep 1")
    if event.reboots:
        guest.reboot(event.commands)
        guest.run(f"{event.after}; {SETTLED}")
    else:
        guest.run(f"{event.commands}; {SETTLED}")
    after, now, lowest = guest.read()
    reloaded = event.reboots or now != loaded
    if event.reloads and not reloaded:
        raise Failure(f"{guest.release}: the module was not unloaded by: {event.title}")
    return page.Cell(guest.release, recipe, event.number, reloaded, before, after, lowest)


def measure(release: str, recipes: list[str], events: list[Event], collections: Path) -> Iterator[page.Cell]:
    guest = Guest(release)
    guest.equip()
    guest.snapshot("save", "equipped")
    for recipe in recipes:
        for setup in SETUPS:
            of_setup = [event for event in events if event.setup == setup]
            if not of_setup:
                continue
            guest.snapshot("load", "equipped")
            guest.run(f"{setup.commands}; {SETTLED}")
            apply(recipe, setup, release, collections)
            guest.snapshot("save", "applied")
            for event in of_setup:
                started = time.monotonic()
                cell = happen(guest, event, recipe)
                word, took = page.verdict(cell), time.monotonic() - started
                print(
                    f"{time.strftime('%H:%M:%S')} {release}, {NAMES.recipes[recipe][0]}, {event.title}: {word} ({took:.0f} s)",
                    flush=True,
                )
                yield cell
                guest.snapshot("load", "applied")


def versions(release: str) -> dict[str, str]:
    said = Guest(release).run("uname -r; dpkg-query --show --showformat '${Version}' firewalld").split()
    return {"kernel": said[0], "firewalld": re.split("[-~+]", said[1])[0]}


def merged(cells: list[page.Cell]) -> list[page.Cell]:
    """What is measured now in the place of what was measured before, in the order of the page."""
    known = {(cell.release, cell.recipe, cell.event): cell for cell in (*load()[0], *cells)}
    return [
        known[release, recipe, event]
        for release in RELEASES
        for recipe in NAMES.recipes
        for event in NAMES.events
        if (release, recipe, event) in known
    ]


def load() -> tuple[list[page.Cell], dict[str, dict[str, str]]]:
    if not MEASURED.exists():
        return [], {}
    measured = json.loads(MEASURED.read_text())
    return [page.Cell(**cell) for cell in measured["cells"]], measured["hosts"]


def write(cells: list[page.Cell], hosts: dict[str, Any]) -> None:
    every = merged(cells)
    known = load()[1] | hosts
    known = {release: known[release] for release in RELEASES if release in known}
    rows = ",\n".join(json.dumps(cell._asdict()) for cell in every)
    MEASURED.write_text(f'{{"hosts": {json.dumps(known)},\n"cells": [\n{rows}\n]}}\n')
    for path, text in pages(every, known).items():
        path.write_text(text)


def pages(cells: list[page.Cell], hosts: dict[str, dict[str, str]]) -> dict[Path, str]:
    """Everything that is written from what was measured."""
    readme = REPO / "README.md"
    return {
        REPO / "docs/survival.md": page.render(cells, hosts, NAMES),
        readme: page.within(readme.read_text(), page.summary(cells, NAMES)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", nargs="+", choices=RELEASES, default=list(RELEASES))
    parser.add_argument("--recipe", nargs="+", choices=list(NAMES.recipes), default=list(NAMES.recipes))
    parser.add_argument("--event", nargs="+", type=int, choices=list(NAMES.events), default=list(NAMES.events))
    arguments = parser.parse_args()
    events = [event for event in EVENTS if event.number in arguments.event]
    failures = []
    cells: list[page.Cell] = []
    try:
        collections = peers.collections(CACHE)
        lab("--owner", str(os.getpid()), "up", *arguments.release)
        hosts = {release: versions(release) for release in arguments.release}
        for release, host in hosts.items():
            print(f"{release}: kernel {host['kernel']}, firewalld {host['firewalld']}", flush=True)

        def all_of(release: str) -> list[page.Cell]:
            return list(measure(release, arguments.recipe, events, collections))

        with ThreadPoolExecutor(len(arguments.release)) as pool:
            for future in [pool.submit(all_of, release) for release in arguments.release]:
                try:
                    cells += future.result()
                except Failure as failure:
                    failures.append(failure)
    except (Failure, peers.Failure) as failure:
        failures.append(failure)
    finally:
        lab("down")
    if cells:
        write(cells, hosts)
        print("written: docs/survival.md, README.md, tests/survival/measured.json")
    for failure in failures:
        print(failure, file=sys.stderr)
    moved = [cell for cell in cells if cell.recipe == "role" and not cell.kept]
    for cell in moved:
        print(
            f"{cell.release}: the role did not keep all through {NAMES.events[cell.event]}: {page.verdict(cell)}",
            file=sys.stderr,
        )
    return 1 if failures or moved else 0


if __name__ == "__main__":
    sys.exit(main())
