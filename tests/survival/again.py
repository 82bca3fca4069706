# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Tune hosts, then load their module three times and boot them three times: the values stay, and nothing is left to do.

On user-mode guests, one for each way a host may be made. Exits non-zero where a value moved, or a later run found anything to do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
import images
import uml

REPO = Path(__file__).resolve().parents[2]
TIMES = 3
LOADED = "echo nf_conntrack > /etc/modules-load.d/theirs.conf; modprobe nf_conntrack"
READ = r"""
cd /proc/sys/net/netfilter
for key in nf_conntrack_max nf_conntrack_buckets nf_conntrack_expect_max nf_conntrack_*_timeout*; do
    echo "$key $(cat $key)"
done
"""
LOADED_NOW = "modprobe nf_conntrack; udevadm settle; sleep 0.5; udevadm settle"
LOAD = f"modprobe -r nf_conntrack; {LOADED_NOW}"
# Where no rule applies sysctl.d after a load, that is an init's own to do.
WITHOUT = "rm /usr/lib/systemd/systemd-sysctl; ln -sf /dev/null /etc/systemd/system/systemd-sysctl.service"


SIZE = ("nf_conntrack_max ", "nf_conntrack_buckets ")


class Kind(NamedTuple):
    name: str
    commands: str
    variables: dict[str, object] = {}
    is_applied: bool = True
    """Something applies sysctl.d after a load; otherwise the size alone can stay, and the rest is set by the next run."""


KINDS = (
    Kind("nothing is loaded", "true"),
    Kind("loaded, as the kernel has it", LOADED),
    Kind("a limit of theirs in sysctl.d", f"echo net.netfilter.nf_conntrack_max=20000 > /etc/sysctl.d/10-theirs.conf; {LOADED}"),
    Kind("a hashsize of theirs", f"echo options nf_conntrack hashsize=12345 > /etc/modprobe.d/theirs.conf; {LOADED}", {"conntrack_takeover": True}),
    Kind("no systemd-sysctl", f"{WITHOUT}; {LOADED}", is_applied=False),
    Kind("a peak that is named", LOADED, {"conntrack_expected_connections": 10000}),
)  # fmt: skip


class Wrong(Exception):
    """The host is not as it has to be."""


def tune(lab: Path, guest: uml.Guest, kind: Kind, collections: Path) -> str:
    """What was said, with a line of what it has changed last."""
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        *("-i", str(lab / "inventory.yml"), "--limit", guest.name, "headroom.netfilter.tune"),
        *("-e", json.dumps(kind.variables)),
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    own = {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        command, env={**kept, **own}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Wrong(f"tune failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def changed(said: str) -> bool:
    return " changed=0 " not in said


def steady(lab: Path, guest: uml.Guest, kind: Kind, collections: Path) -> Iterator[str]:
    """What moved, or was found to be done again."""
    guest.run(f"{kind.commands}; sync")
    if not changed(tune(lab, guest, kind, collections)):
        raise Wrong("there was nothing to do")
    # Live buckets are not made fewer: the first load does that.
    wanted = guest.run(f"{LOADED_NOW if kind.is_applied else LOAD}; {READ}")
    for event in ("load", "boot"):
        for number in range(1, TIMES + 1):
            if event == "load":
                guest.run(LOAD)
            else:
                guest.reboot()
            found = guest.run(f"{LOADED_NOW}; {READ}")
            stays = "nf_" if kind.is_applied else SIZE
            if moved := [
                line for line in found.splitlines() if line not in wanted.splitlines() and line.startswith(stays)
            ]:
                yield f"after {event} {number}: {', '.join(moved)}"
            if changed(said := tune(lab, guest, kind, collections)) and kind.is_applied:
                yield f"after {event} {number} tune changes something:\n{said}"
            if changed(said := tune(lab, guest, kind, collections)):
                yield f"after {event} {number} tune changes something a second time:\n{said}"


def of_kind(lab: Path, guest: uml.Guest, kind: Kind, collections: Path) -> int:
    try:
        wrong = list(steady(lab, guest, kind, collections))
    except (Wrong, images.Failed) as problem:
        wrong = [str(problem)]
    print(f"{kind.name}: {'; '.join(wrong) or 'the same after each of three loads and three boots'}", flush=True)
    return len(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", nargs="+", type=int, choices=range(len(KINDS)), default=list(range(len(KINDS))))
    parser.add_argument("--collections", type=Path, default=REPO / ".cache/collections", metavar="PATH")
    arguments = parser.parse_args()
    if reason := uml.lack():
        sys.exit(f"no user-mode guests on this machine: {reason}")
    kinds = [KINDS[number] for number in arguments.kind]
    with (
        tempfile.TemporaryDirectory(prefix="again-") as folder,
        uml.running(Path(folder), len(kinds)) as guests,
        ThreadPoolExecutor(uml.AT_ONCE) as pool,
    ):
        work = [
            pool.submit(of_kind, Path(folder), guest, kind, arguments.collections) for guest, kind in zip(guests, kinds)
        ]
        return 1 if sum(done.result() for done in work) else 0


if __name__ == "__main__":
    sys.exit(main())
