# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a kernel makes of its module's parameters, and systemd of the names in modules-load.d, beside what the collection predicts."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[5]))
sys.path.insert(0, str(Path(__file__).parent))
import uml

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.loading import loading
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.modules import Modules
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import modprobe

MODULE = "nf_conntrack"
LINES = "/etc/modprobe.d/a.conf"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[uml.Guest]:
    if reason := uml.lack():
        pytest.skip(reason)
    with uml.running(tmp_path_factory.mktemp("lab"), 1) as guests:
        yield guests[0]


@pytest.fixture(scope="module")
def release(guest: uml.Guest) -> str:
    return guest.run("uname -r").strip()


@pytest.fixture(scope="module")
def tree(guest: uml.Guest, release: str, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The guest's indexes, and its module."""
    home = Path("lib/modules") / release
    names = (
        "modules.dep.bin",
        "modules.alias.bin",
        "modules.builtin.bin",
        "modules.softdep",
        f"kernel/net/netfilter/{MODULE}.ko",
    )
    root = tmp_path_factory.mktemp("tree")
    for name in names:
        (root / home / name).parent.mkdir(parents=True, exist_ok=True)
        (root / home / name).write_bytes(base64.b64decode(guest.run(f"base64 /{home}/{name}")))
    return Host(str(root))


PARAMETERS = [
    "hashsize=5000",
    "expect_hashsize=1000",
    "expect_hashsize=1 hashsize=262144",
    "expect_hashsize=262144 hashsize=512",
    "expect_hashsize=0 hashsize=65536",
    "expect_hashsize=many",
    "nf_conntrack_max=65535",
    "nf_conntrack_max = 65535",
    "ip_conntrack_disable_ve0=0",
    "nf_conntrack_helper=1",
    "nf_conntrack_helper=maybe",
    "acct=1",
    "acct",
    "acct=maybe",
    "acct = 1",
    "tstamp=Y",
    "tstamp=-1",
    "enable_hooks=1",
    "enable_hooks=2",
    "hashsize = 5000",
]


@pytest.mark.parametrize("text", PARAMETERS)
def test_parameters(guest: uml.Guest, release: str, tree: Host, text: str) -> None:
    values = "/sys/module/nf_conntrack/parameters/hashsize /proc/sys/net/netfilter/nf_conntrack_max"
    done = guest.run(
        f"""
        modprobe -r nf_conntrack; test ! -d /sys/module/nf_conntrack; dmesg --clear
        echo 'options nf_conntrack {text}' > {LINES}
        modprobe nf_conntrack 2>/dev/null && cat {values} /proc/sys/net/netfilter/nf_conntrack_expect_max || echo fails
        rm {LINES}; dmesg | grep -c "unknown parameter" || true
        """
    ).split()
    (line,) = modprobe.parse(LINES, f"options nf_conntrack {text}\n")
    there = Modules(tree, release, []).parameters(MODULE)
    told = {"modprobe": [{**line._asdict(), "text": ""}], "command_line": [], "parameters": sorted(there)}
    found = loading(told, MODULE, kernel.version(release))
    passed_over = [problem for problem in found.problems if "the load passes over it" in problem.said]
    assert done[-1] == str(len(passed_over))
    if found.refused:
        assert done[:-1] == ["fails"]
        return
    hashsize, limit, expectations = map(int, done[:-1])
    if found.hashsize:
        rounded = kernel.rounded_buckets(found.hashsize.number, 4096, 8)
        assert (hashsize, limit) == (rounded, 8 * rounded)
    own = found.expect_hashsize
    assert expectations == (4 * own.number if own else kernel.expect_max(hashsize))


NAMED = [
    ("nf_conntrack", ""),
    ("nf_conntrack", "blacklist nf_conntrack"),
    ("ip_conntrack", ""),
    ("ip_conntrack", "blacklist nf_conntrack"),
    ("nf_conntrack_ipv4", ""),
    ("nf-conntrack-ftp", ""),
    ("ip_conntrack_ftp", ""),
    ("ip_conntrack_ftp", "blacklist nf_conntrack"),
    ("ip_conntrack_ftp", "blacklist nf_conntrack_ftp"),
    ("nf_conntrack_ftp", "blacklist nf_conntrack_ftp"),
    ("nf_defrag_ipv4", ""),
    ("nf_defrag_ipv4", "softdep nf_defrag_ipv4 post: ip_conntrack"),
    ("nf_conntrack hashsize=5", ""),
    ("nf_conntrack", "alias nf_conntrack off"),
    ("tracking", "alias track* nf_conntrack_ftp"),
    ("ext4", "softdep ext4 pre: nf_conntrack"),
]


@pytest.mark.parametrize(("name", "line"), NAMED)
def test_names(guest: uml.Guest, release: str, tree: Host, name: str, line: str) -> None:
    done = guest.run(
        f"""
        modprobe -r nf_conntrack_ftp nf_conntrack nf_defrag_ipv4; test ! -d /sys/module/nf_conntrack
        echo '{line}' > {LINES}; echo '{name}' > /tmp/named.conf
        /usr/lib/systemd/systemd-modules-load /tmp/named.conf 2>/dev/null || true
        test -d /sys/module/nf_conntrack && echo there || echo gone
        rm {LINES}
        """
    ).split()
    taken = list(modprobe.parse(LINES, line + "\n"))
    module, brings = Modules(tree, release, taken).early(name.replace("-", "_"), MODULE, "")
    is_barred = module == MODULE and modprobe.blacklisted(taken, "", MODULE) is not None
    assert (done == ["there"]) is (brings and not is_barred)
