# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Facts beyond those of the golden hosts: subsets, containers, what can be written, what is missing."""

import os
import subprocess
import sys

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.reading import (
    SubsetError,
    chosen_subsets,
)
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    DYING,
    STATISTICS,
    Entry,
    TableHost,
    done,
    statistics,
)
from ansible_collections.headroom.netfilter.tests.unit.fakes import BUCKETS, COUNT, HASHSIZE, MAX, SYSCTL, FakeKernel

ALWAYS = {"history", "state", "flavour", "kernel", "memory", "cpus", "unreadable", "untold", "left_out"}
TABLE = {"table", "timeouts", "switches", "counters", "unlisted"}
PERSISTENCE = {"timeouts", "switches", "services", "files", "assignments", "outcome", "exposed"}
OWNERS = {"owners", "claims"}
NAMESPACES = {"namespaces", "netns_total"}
EVERYTHING = {"table", "persistence", "owners", "namespaces", "log"}

SUBSETS = [
    ([], EVERYTHING),
    (["all"], EVERYTHING),
    (["min"], set()),
    (["all", "min"], EVERYTHING),
    (["table"], {"table"}),
    (["min", "table"], {"table"}),
    (["table", "persistence"], {"table", "persistence"}),
    (["!table"], EVERYTHING - {"table"}),
    (["all", "!table"], EVERYTHING - {"table"}),
    (["!table", "!persistence"], {"owners", "namespaces", "log"}),
    (["!all"], set()),
    (["!all", "table"], {"table"}),
    (["all", "!all"], set()),
    (["!min"], EVERYTHING),
    (["table", "!table"], {"table"}),
    (["table", "!persistence"], {"table"}),
    (["min", "!table"], set()),
]


@pytest.mark.parametrize(("asked", "chosen"), SUBSETS, ids=repr)
def test_subsets(asked, chosen):
    assert chosen_subsets(asked) == chosen


# A lone ! is all but that, as setup's documentation has it; its code gives the least.
LONE = (["!table"], ["!min"], ["!table", "!persistence"])


@pytest.mark.parametrize("asked", [case[0] for case in SUBSETS if case[0] not in LONE], ids=repr)
def test_subsets_are_chosen_as_by_setup(asked):
    collector = pytest.importorskip("ansible.module_utils.facts.collector", reason="ansible-core is not installed")
    valid = frozenset(EVERYTHING | {"state"})
    by_setup = collector.get_collector_names(
        valid_subsets=valid, minimal_gather_subset=frozenset(["state"]), gather_subset=list(asked)
    )
    assert chosen_subsets(asked) == by_setup - {"state"}


@pytest.mark.parametrize("asked", ["tables", "!tables", "!!table", "!", "", "network", "ALL"])
def test_a_subset_that_is_none_is_refused(asked):
    with pytest.raises(SubsetError) as caught:
        chosen_subsets(["min", asked])
    assert f"gather_subset: {asked} is not known; use all, min, log, namespaces, owners, persistence, table" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        (["min"], set()),
        (["table"], TABLE),
        (["persistence"], PERSISTENCE),
        (["owners"], OWNERS),
        (["namespaces"], NAMESPACES),
        (["log"], {"log"}),
        (["all"], TABLE | PERSISTENCE | NAMESPACES | OWNERS | {"log"}),
    ],
    ids=["min", "table", "persistence", "owners", "namespaces", "log", "all"],
)
def test_what_a_subset_gives(asked, keys):
    assert set(gather(FakeKernel(), asked)) == ALWAYS | keys


@pytest.mark.parametrize(
    ("texts", "kernel", "kind"),
    [
        ({}, {}, None),
        ({}, {"first_netns": False}, None),
        ({"/run/systemd/container": "lxc\n"}, {}, "lxc"),
        ({"/run/systemd/container": "\n", "/.dockerenv": ""}, {"first_netns": False}, "docker"),
        ({"/.dockerenv": ""}, {"first_netns": False, "root": False}, "docker"),
        ({"/run/.containerenv": 'engine="podman"\n'}, {"first_netns": False}, "podman"),
        ({"/dev/lxd/sock": ""}, {"first_netns": False}, "lxc"),
        # Left behind by the image that a host was made from.
        ({"/.dockerenv": "", "/run/.containerenv": ""}, {}, None),
        ({"/proc/vz": ""}, {}, "openvz"),
        ({"/proc/vz": "", "/proc/bc": ""}, {}, None),
        ({"/proc/1/environ": "PATH=/bin\0container=lxc\0TERM=linux\0"}, {}, "lxc"),
        ({"/proc/1/environ": "container=\0notcontainer=lxc\0"}, {}, None),
        ({"/proc/1/environ": "container=lxc\0"}, {"root": False}, None),
    ],
    ids=repr,
)
def test_container(texts, kernel, kind):
    host = FakeKernel(**kernel)
    host.texts.update(texts)
    assert gather(host, ["min"])["kernel"]["container"] == kind


@pytest.mark.parametrize(
    "forwarding",
    [
        {},
        {"/proc/sys/net/ipv4/ip_forward": "0\n", "/proc/sys/net/ipv6/conf/all/forwarding": "0\n"},
        {"/proc/sys/net/ipv4/ip_forward": "1\n"},
        {"/proc/sys/net/ipv6/conf/all/forwarding": "1\n"},
    ],
    ids=["unknown", "no", "IPv4", "IPv6"],
)
@pytest.mark.parametrize(
    ("module", "translates"),
    [
        ("nft_masq", True),
        ("nft_nat", True),
        ("xt_MASQUERADE", True),
        ("xt_nat", True),
        ("ipt_MASQUERADE", True),
        # There for other reasons, too: firewalld, helpers.
        ("nf_nat", False),
        ("nft_chain_nat", False),
        ("iptable_nat", False),
        ("nf_nat_ftp", False),
        ("xt_nat_of_another", False),
    ],
)
def test_nat(module, translates, forwarding):
    host = FakeKernel()
    host.texts["/proc/modules"] = f"nf_conntrack 180224 1 {module}, Live 0x0\n{module} 16384 1 - Live 0x0\n"
    host.texts.update(forwarding)
    assert gather(host, ["min"])["kernel"]["nat"] is (translates and "1\n" in forwarding.values())


@pytest.mark.parametrize(
    ("kernel", "locked", "writable"),
    [
        ({}, (), (True, True, True)),
        ({"root": False}, (), (False, False, False)),
        ({"first_netns": False}, (), (False, False, True)),
        ({}, (HASHSIZE,), (True, True, True)),
        ({}, (BUCKETS,), (True, True, True)),
        ({}, (HASHSIZE, BUCKETS), (True, False, True)),
        ({}, (MAX,), (False, True, True)),
        ({}, (SYSCTL + "generic_timeout",), (True, True, False)),
    ],
    ids=["root", "not root", "netns", "no parameter", "no sysctl", "no buckets", "no limit", "no timeouts"],
)
def test_what_can_be_written(kernel, locked, writable):
    host = FakeKernel(**kernel)
    host.locked |= set(locked)
    found = gather(host, ["min"])["kernel"]["writable"]
    assert (found["max"], found["buckets"], found["timeouts"]) == writable


def test_the_parameter_is_believed_rather_than_a_stale_sysctl():
    host = FakeKernel()
    host.values.update({HASHSIZE: 131072, BUCKETS: 65536})
    assert gather(host, ["table"])["table"]["buckets"] == 131072


def test_without_root_the_sysctl_tells_the_buckets():
    facts = gather(FakeKernel(root=False), ["table"])
    assert facts["table"]["buckets"] == 65536
    assert facts["unreadable"] == [HASHSIZE]


def test_no_limit_at_all():
    table = gather(FakeKernel(limit=0), ["table"])["table"]
    assert (table["max"], table["usage"], table["full_bytes"]) == (0, None, None)


@pytest.mark.parametrize("path", [MAX, COUNT, HASHSIZE])
def test_a_number_that_is_none_is_no_fact(path):
    host = FakeKernel()
    del host.values[path]
    host.texts[path] = "what\n"
    table = gather(host, ["table"])["table"]
    assert table[{MAX: "max", COUNT: "count"}.get(path, "buckets")] == (65536 if path == HASHSIZE else None)


def test_the_object_size_of_sysfs_comes_before_that_of_slabinfo():
    host = FakeKernel()
    host.texts["/proc/slabinfo"] = "nf_conntrack 1 2 320 51 4 : tunables 0 0 0 : slabdata 52 52 0\n"
    assert gather(host, ["table"])["table"]["entry_bytes"] == 320 + 128
    host.texts["/sys/kernel/slab/nf_conntrack/slab_size"] = "256\n"
    assert gather(host, ["table"])["table"]["entry_bytes"] == 256 + 128


@pytest.mark.parametrize(
    ("stat", "ran"),
    [
        ("entries drop\n0a 00\n0a 00\n", 0),
        ("entries drop\n0a 00\n0a 01\n", 1),
        ("entries drop\n0a -1\n", 0),
        # Clashes are counted as both.
        ("entries insert_failed drop\n0a 02 02\n", 0),
        ("entries insert_failed drop\n0a 02 03\n", 1),
        (None, 0),
    ],
)
def test_nothing_is_run_but_for_the_log_where_packets_were_dropped(stat, ran):
    class Runs(FakeKernel):
        runs = 0

        def run(self, argv, limit, longest=0.0):
            self.runs += 1

    host = Runs()
    host.texts.update({"/usr/bin/journalctl": "", "/run/systemd/system": ""})
    if stat is not None:
        host.texts["/proc/net/stat/nf_conntrack"] = stat
    gather(host, ["!log"])
    assert host.runs == 0
    gather(host, ["all"])
    assert host.runs == ran


ENTRIES = [Entry(ports=(port, 443)) for port in range(100)]


@pytest.mark.parametrize(
    ("count", "dying", "unlisted"),
    [
        (50, 0, None),
        (51, 0, {"entries": None, "dying": 0, "unconfirmed": None}),
        (94, 40, {"entries": None, "dying": 40, "unconfirmed": None}),
        (95, 40, {"entries": 0, "dying": 40, "unconfirmed": None}),
        (120, 20, {"entries": 20, "dying": 20, "unconfirmed": None}),
    ],
)
def test_what_is_in_no_list_is_asked_where_more_is_in_use_than_a_plan_leaves(monkeypatch, count, dying, unlisted):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    host = TableHost(ENTRIES, count=count, limit=100, module=False)
    host.table.policies = {DYING: [Entry().told() * dying, done()]}
    assert gather(host, ["table"])["unlisted"] == (unlisted and dict(unlisted, listeners=[]))
    assert (host.table.dumps > 0) == (count >= 95)


def test_where_there_is_no_file_of_counters_ctnetlink_is_asked():
    host = TableHost(module=False)
    host.table.policies = {STATISTICS: [statistics([4, 1], 9), statistics([0, 7], 9, cpu=1), done()]}
    assert gather(host, ["table"])["counters"] == {"insert_failed": 4, "drop": 8}
    host.texts["/proc/net/stat/nf_conntrack"] = STAT
    assert gather(host, ["table"])["counters"] == {"drop": 0}


def test_where_there_is_no_table_nobody_is_asked():
    host = TableHost(module=False, refused=AssertionError("that would load it"))
    host.values.clear()
    del host.texts["/sys/module/nf_conntrack"]
    assert gather(host, ["all"])["counters"] == {}


LOADED = """
import sys
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

gather(Host(sys.argv[1]), ["all"])
print(*(name.rpartition(".")[2] for name in sys.modules if "._conntrack." in name))
"""
STAT = "entries drop\n05 00\n"
FULL = "<4>[    1.0] nf_conntrack: nf_conntrack: table full, dropping packet\n"


@pytest.mark.parametrize(
    ("files", "needed"),
    [
        ({}, set()),
        ({"etc/modprobe.d/a.conf": "options nf_conntrack hashsize=1\n"}, {"loading", "modprobe"}),
        ({"etc/sysctl.d/a.conf": "net.netfilter.nf_conntrack_max = 5\n"}, set()),
        ({"proc/kmsg": FULL}, {"messages"}),
        ({"etc/crontab": "@reboot root sysctl -w net.netfilter.nf_conntrack_max=1\n"}, {"commands"}),
        ({"proc/7/comm": "kube-proxy\n"}, {"kube_proxy", "commands"}),
        ({COUNT[1:]: "5\n"}, {"ctnetlink"}),
        ({COUNT[1:]: "6\n", "proc/net/stat/nf_conntrack": STAT}, {"ctnetlink", "unlisted"}),
        ({COUNT[1:]: "5\n", "proc/net/stat/nf_conntrack": STAT}, set()),
    ],
    ids=[
        "nothing",
        "an option",
        "a limit",
        "a full table",
        "a script",
        "kube-proxy",
        "no counters",
        "much in use",
        "half",
    ],
)
def test_what_few_hosts_need_is_loaded_where_it_is_needed(tmp_path, files, needed):
    """Each module costs every host of a fleet the time to compile it, twice."""
    files = dict(files, **{"proc/sys/net/netfilter/nf_conntrack_max": "10\n", "usr/lib/systemd/systemd-sysctl": ""})
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    told = subprocess.check_output([sys.executable, "-c", LOADED, str(tmp_path)], env=environment)
    few = {
        "loading",
        "modprobe",
        "messages",
        "commands",
        "ctnetlink",
        "kube_proxy",
        "tuned",
        "globs",
        "netfilter",
        "patterns",
        "planned",
        "udev",
        "unlisted",
        "started",
        "inits",
    }
    assert set(told.decode().split()) & few == needed
