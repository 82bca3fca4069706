# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Who needs connection tracking, of rules that this kernel has taken: in another network namespace, as nft lists them itself.

Nothing is changed: each look is one in check mode.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

LOOK = """
import json
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.cures.unload import Options, run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost

try:
    said = run(WritableHost(), Options(), True)
except ChangeError as error:
    said = dict(error.told, msg=str(error))
print(json.dumps(said))
"""
FILTER = "add chain inet t c { type filter hook forward priority 0; policy accept; }\n"


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"unload-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


def needed(namespace: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-B", "-c", LOOK],
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    # Others may have namespaces of theirs meanwhile.
    return [one for one in json.loads(done.stdout).get("needed_by", []) if f"namespace {namespace}:" in one["where"]]


@pytest.mark.parametrize(
    ("rules", "chain", "text"),
    [
        (FILTER + "add rule inet t c ct state established,related accept", "c", "ct state established,related accept"),
        (FILTER + "add rule inet t c ct mark set 1", "c", "ct mark set 0x00000001"),
        (FILTER + "add rule inet t c ct count over 20 drop", "c", "ct count over 20 drop"),
        (FILTER + "add rule inet t c notrack", "c", "notrack"),
        (
            "add chain inet t n { type nat hook postrouting priority 100; }\nadd rule inet t n masquerade",
            "n",
            "masquerade",
        ),
        (
            "add chain inet t n { type nat hook prerouting priority -100; }\nadd rule inet t n tcp dport 80 redirect to :8080",
            "n",
            "tcp dport 80 redirect to :8080",
        ),
        (
            "add chain inet t n { type nat hook prerouting priority -100; }\nadd rule inet t n tcp dport 80 dnat ip to 10.0.0.2",
            "n",
            "tcp dport 80 dnat ip to 10.0.0.2",
        ),
        (
            "add chain inet t n { type nat hook postrouting priority 100; }\nadd rule inet t n snat ip to 10.0.0.2",
            "n",
            "snat ip to 10.0.0.2",
        ),
        (
            FILTER + "add rule inet t c tcp dport 80 synproxy mss 1460 wscale 7",
            "c",
            "tcp dport 80 synproxy mss 1460 wscale 7",
        ),
        ('add ct helper inet t h { type "ftp" protocol tcp; }', "", "ct helper h {"),
        ("add ct timeout inet t o { protocol tcp; policy = { established: 100 }; }", "", "ct timeout o {"),
    ],
)
def test_a_rule_is_named_with_its_place(namespace: str, rules: str, chain: str, text: str) -> None:
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, "nft", "-f", "-"],
        input=f"add table inet t\n{rules}\n",
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"this kernel or its nft takes no such rule: {done.stderr.splitlines()[0]}")
    where = "table inet t" + (f", chain {chain}" if chain else "")
    found = [(one["kind"], one["where"].partition(": ")[2], one["text"]) for one in needed(namespace)]
    assert ("rule", f"nftables, {where}", text) in found


def test_a_firewall_without_state_needs_nothing(namespace: str) -> None:
    rules = (
        f"add table inet t\n{FILTER}"
        'add rule inet t c tcp dport { 22, 53 } counter accept comment "ct state new"\n'
        'add rule inet t c log prefix "masquerade " drop\n'
        "add chain inet t snat_it\n"
        "add rule inet t c jump snat_it\n"
    )
    subprocess.run(["ip", "netns", "exec", namespace, "nft", "-f", "-"], input=rules, text=True, check=True)
    assert needed(namespace) == []
