# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The same tables, counted by the collection and by what conntrack and the kernel print."""

from __future__ import annotations

import os
import subprocess
import sys

import census_oracle
import pytest
from conftest import Machine

# As conntrack prints one; what the comparison has to notice.
LINE = (
    "ipv4     2 tcp      6 431999 ESTABLISHED src=10.1.0.1 dst=172.16.0.1 sport=4000 dport=443 "
    "src=172.16.0.1 dst=10.1.0.1 sport=443 dport=4000 [ASSURED] mark=1 zone=7 use=1\n"
)


def test_every_group_is_equal(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, census_oracle.__file__],
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with capsys.disabled():
        print(f"\n{done.stdout}", end="")
    assert " 0 groups" not in done.stdout
    assert "groups compared: 0 differ" in done.stdout


@pytest.mark.parametrize(
    ("was", "is_now", "field"),
    [
        ("tcp      6", "udp      17", "protocol"),
        ("ESTABLISHED", "CLOSE_WAIT", "state"),
        ("dport=4000 [ASSURED]", "dport=4000 [UNREPLIED]", "state"),
        ("src=10.1.0.1", "src=10.1.0.2", "source"),
        ("dst=172.16.0.1", "dst=172.16.0.2", "destination"),
        ("src=10.1.0.1", "src=10.1.16.1", "source_network"),
        ("dst=172.16.0.1", "dst=172.16.16.1", "destination_network"),
        ("dport=443", "dport=444", "destination_port"),
        ("zone=7", "zone=8", "zone"),
        ("mark=1", "mark=2", "mark"),
        ("[ASSURED] ", "", "assured"),
        ("ESTABLISHED", "CLOSE_WAIT", "timeout_class"),
        ("dport=4000 [ASSURED]", "dport=4000 [UNREPLIED]", "timeout_class"),
    ],
)
def test_the_oracle_sees_each_field(was: str, is_now: str, field: str) -> None:
    assert was in LINE
    groups, other = (census_oracle.read(text)[0] for text in (LINE, LINE.replace(was, is_now, 1)))
    assert groups[field] != other[field]
