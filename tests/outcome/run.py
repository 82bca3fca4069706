# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Make each host of hosts.py on each release, predict its next boot and load, let both happen, and write docs/outcome.md.

Needs what the lab needs. `make survival` calls it.
"""

from __future__ import annotations

import argparse
import json
import posixpath
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.guests import FILES, REPO, SETTLED, Failure, Guest, Lab
from tests.outcome import page
from tests.outcome.hosts import HOSTS, Host

WRITING = threading.Lock()
LAB = Lab(REPO / ".cache/outcome/lab")
CODE = "ansible_collections/headroom/netfilter/plugins/module_utils/_conntrack"
FACTS = f"""
PYTHONPATH=/opt/collections python3 -B - <<'END'
import json
from {CODE.replace("/", ".")}.facts.gather import gather
from {CODE.replace("/", ".")}.host.door import Host
print(json.dumps(gather(Host(), ["all"])))
END
"""
LOAD = "unload-conntrack; modprobe nf_conntrack || true"
# What a firewall would do, where nothing has loaded the module by then.
USE = "modprobe nf_conntrack || true"


def equip(guest: Guest) -> None:
    guest.place({"/usr/local/sbin/unload-conntrack": FILES / "unload-conntrack"})
    code = REPO / CODE.partition("netfilter/")[2]
    files = {f"/opt/collections/{CODE}/{path.relative_to(code)}": path for path in sorted(code.rglob("*.py"))}
    guest.run("mkdir -p " + " ".join(sorted({posixpath.dirname(path) for path in files})))
    guest.place(files)


def measure(guest: Guest, host: Host) -> list[page.Case]:
    guest.run(f"{host.commands}\nmodprobe nf_conntrack || true; {SETTLED}")
    predicted = facts(guest)["outcome"]
    guest.run(f"{host.let_go}; {LOAD}; {SETTLED}")
    reloaded = values(facts(guest))
    guest.run(host.hold_again)
    guest.reboot("reboot")
    guest.run(f"{USE}; {SETTLED}")
    booted = values(facts(guest))
    return [
        page.case(guest.release, host.name, event, predicted[event], found)
        for event, found in (("reload", reloaded), ("boot", booted))
    ]


def facts(guest: Guest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(guest.run(FACTS))
    return found


def values(found: dict[str, Any]) -> dict[str, int]:
    """What is in force, by the keys of the outcome; nothing where the module is not loaded."""
    if found["state"] != "loaded":
        return {}
    prefix = "net.netfilter.nf_conntrack_"
    table = {
        "hashsize": found["table"]["buckets"],
        **{prefix + key: found["table"][key] for key in ("max", "expect_max")},
    }
    return {**table, **{page.timeout_key(name): seconds for name, seconds in found["timeouts"].items()}}


def of_release(release: str, hosts: list[Host]) -> list[page.Case]:
    guest = Guest(LAB, release)
    equip(guest)
    guest.snapshot("save", "equipped")
    cases = []
    for host in hosts:
        started = time.monotonic()
        guest.snapshot("load", "equipped")
        found = measure(guest, host)
        cases += found
        with WRITING:
            page.write(found)
        wrong = "; ".join(text for case in found for text in case.differing) or "as predicted"
        print(
            f"{time.strftime('%H:%M:%S')} {release}, {host.name}: {wrong} ({time.monotonic() - started:.0f} s)",
            flush=True,
        )
    return cases


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", nargs="+", choices=page.RELEASES, default=list(page.RELEASES))
    parser.add_argument("--host", nargs="+", type=int, choices=range(len(HOSTS)), default=list(range(len(HOSTS))))
    arguments = parser.parse_args()
    hosts = [HOSTS[number] for number in arguments.host]
    try:
        with LAB.up(arguments.release), ThreadPoolExecutor(len(arguments.release)) as pool:
            cases = [
                case
                for found in pool.map(lambda release: of_release(release, hosts), arguments.release)
                for case in found
            ]
    except (Failure, subprocess.SubprocessError) as failure:
        sys.exit(str(failure))
    print("written: docs/outcome.md, tests/outcome/measured.json")
    return 1 if any(case.differing for case in cases) else 0


if __name__ == "__main__":
    sys.exit(main())
