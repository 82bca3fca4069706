# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""apply.sh live on a user-mode guest, which has conntrack as a module: what it leaves is what the role would have, after a boot and a load,
too; it goes without a trace; and without power in the midst of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, os.environ.get("ANSIBLE_COLLECTIONS_PATH") or str(Path(__file__).parents[5]))
sys.path.insert(0, str(Path(__file__).parent))
import uml

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.foretold import foretold
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.plan import Plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import planned
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.script import script

REPO = Path(__file__).resolve().parents[2]
FACTS = "import json\nfrom plugins.module_utils._conntrack.facts.reading import read\n"
FACTS += "from plugins.module_utils._conntrack.host.door import Host\nprint(json.dumps(read(Host(), ['all'])))\n"
STATE = r"""
cd /; find etc -type f -exec sha256sum {} + -exec stat -c '%n %a %u %g' {} + | sort
ls -d var/lib/headroom 2> /dev/null || :
grep -c '^nf_conntrack ' /proc/modules || :
"""
VALUES = "cd /proc/sys/net/netfilter && grep . nf_conntrack_max nf_conntrack_expect_max *timeout*; cat /sys/module/nf_conntrack/parameters/hashsize"
# Seconds after the start of a run.
CUTS = [float(seconds) for seconds in os.environ.get("APPLY_CUTS", "0.5").split()]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[uml.Guest]:
    if reason := uml.lack():
        pytest.skip(reason)
    with uml.running(tmp_path_factory.mktemp("apply"), 1) as guests:
        made = guests[0]
        packed = subprocess.run(
            ["tar", "-C", str(REPO / "plugins"), "--exclude=__pycache__", "-c", "module_utils"],
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        place = "mkdir -p /opt/plugins && tar -C /opt/plugins --no-same-owner -x"
        subprocess.run([*made.ssh(), place], input=packed, check=True, timeout=60)
        put = "cat > /opt/apply.sh && sync"
        subprocess.run([*made.ssh(), put], input=script(Policy()), text=True, check=True, timeout=60)
        yield made


def plan(guest: uml.Guest) -> Plan:
    facts: dict[str, Any] = json.loads(guest.run(f"cd /opt && python3 -B - <<'END'\n{FACTS}END\n"))
    return planned(foretold(facts), Policy())


def apply(guest: uml.Guest, *options: str) -> str:
    return guest.run(" ".join(["sh /opt/apply.sh", *options]))


def test_what_it_leaves_is_what_the_role_would_have(guest: uml.Guest) -> None:
    before = guest.run(STATE)
    said = apply(guest)
    assert "nf_conntrack: loaded" in said
    values = guest.run(VALUES)
    made = plan(guest)
    assert (made.drift, made.refusals) == ([], [])
    assert f"nf_conntrack_max:{made.max}\n" in values
    assert "nothing to do" in apply(guest)
    guest.reboot()
    assert guest.run(VALUES) == values
    # The udev rule brings back what a load has taken away.
    guest.run("modprobe -r nf_conntrack; modprobe nf_conntrack")
    deadline = time.monotonic() + 20
    while guest.run(VALUES) != values and time.monotonic() < deadline:
        time.sleep(0.5)
    assert guest.run(VALUES) == values
    assert "nothing to do" in apply(guest)
    apply(guest, "--undo")
    # What was loaded stays, and had no values before.
    assert guest.run(STATE).splitlines()[:-1] == before.splitlines()[:-1]
    guest.run("modprobe -r nf_conntrack; modprobe nf_conntrack; udevadm settle")
    assert "timeout_established:432000\n" in guest.run(VALUES)
    # That of one that was loaded has.
    guest.run("echo 7777 > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established")
    before, values = guest.run(STATE), guest.run(VALUES)
    apply(guest)
    assert guest.run(VALUES) != values
    apply(guest, "--undo")
    assert (guest.run(STATE), guest.run(VALUES)) == (before, values)


@pytest.mark.parametrize("seconds", CUTS)
def test_without_power_in_the_midst_of_it(guest: uml.Guest, seconds: float) -> None:
    guest.run("sync")
    before = guest.run(STATE)
    uml.cut_at(guest, "sh /opt/apply.sh", seconds)
    apply(guest)
    made = plan(guest)
    assert (made.drift, made.refusals) == ([], [])
    apply(guest, "--undo")
    assert guest.run(STATE).splitlines()[:-1] == before.splitlines()[:-1]
