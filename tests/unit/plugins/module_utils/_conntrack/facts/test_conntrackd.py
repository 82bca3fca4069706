# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""conntrackd: how many entries it keeps, as its configuration says so."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

CONFIG = "etc/conntrackd/conntrackd.conf"


@pytest.fixture
def conntrackd(tmp_path):
    def told(files):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return gather(Host(str(tmp_path)), ["persistence"])["services"]["conntrackd"]

    return told


@pytest.mark.parametrize(
    ("text", "size", "limit"),
    [
        ("General {\n\tHashSize 32768\n\tHashLimit 131072\n}\n", 32768, 131072),
        ("General { HashSize 8192 HashLimit 65535 LogFile on }", 8192, 65535),
        ("General {\n    HashLimit\n        70000\n}\n", 65536, 70000),
        ("General {\n  # HashLimit 5\n  HashSize 1 # HashLimit 6\n}\n", 1, 262144),
        ("General { HashLimit 9 HashLimit 10 }", 65536, 10),
        ("General { MyHashLimit 5\nHashLimits 6 HashLimit many }", 65536, 262144),
        ("", 65536, 262144),
    ],
)
def test_the_last_of_each_counts_and_a_comment_does_not(conntrackd, text, size, limit):
    assert conntrackd({CONFIG: text}) == {"active": False, "sync": False, "hash_size": size, "hash_limit": limit}


@pytest.mark.parametrize(
    ("text", "sync"),
    [
        ("Sync {\n\tMode FTFW {\n\t}\n}\n", True),
        ("General { }\nSync\n{ }", True),
        ("Stats { LogFile on }\n# Sync {\n", False),
        ("General { LockFile /run/Sync }", False),
    ],
)
def test_whether_it_keeps_them_for_another_node(conntrackd, text, sync):
    assert conntrackd({CONFIG: text})["sync"] == sync


def test_it_is_active_where_its_unit_is(conntrackd):
    assert conntrackd({CONFIG: "", "run/systemd/units/invocation:conntrackd.service": ""})["active"]


def test_there_is_none_without_a_configuration(conntrackd):
    assert conntrackd({}) is None
