# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The order in which modules are unloaded, and what is kept of them."""

import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.stack import order

MODULES = """\
nft_masq 12288 3 - Live 0x0000000000000000
nft_chain_nat 12288 1 - Live 0x0
nf_conntrack_netlink 53248 0 - Live 0x0
nf_nat 57344 2 nft_masq,nft_chain_nat, Live 0x0
nf_conntrack 188416 4 nft_masq,nf_conntrack_netlink,nf_nat, Live 0x0
nf_tables 356352 99 nft_masq,nft_chain_nat, Live 0x0
libcrc32c 12288 2 nf_nat,nf_conntrack, Live 0x0
ext4 1000000 1 - Live 0x0
"""
SYSCTL = "/proc/sys/net/netfilter/"


class Loader(WritableHost):
    """A tree whose modules are loaded and unloaded by name, dependents or not as in MODULES."""

    def __init__(self, root, busy=()):
        super().__init__(str(root))
        self.busy, self.commands = busy, []
        self.put_text("/proc/modules", MODULES)
        for line in MODULES.splitlines():
            os.makedirs(self.path("/sys/module/" + line.split()[0]))
        self.put_text("/sys/module/nf_conntrack/parameters/hashsize", "1024\n")
        self.put_text(SYSCTL + "nf_conntrack_max", "8192\n")
        self.put_text(SYSCTL + "nf_conntrack_count", "7\n")
        self.put_text(SYSCTL + "nf_log_all", "0\n")

    def put_text(self, path, text):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w", encoding="ascii") as target:
            target.write(text)

    def _command(self, argv, longest):
        self.commands.append(argv)
        name = argv[-1]
        lines = (self.read("/proc/modules") or "").splitlines(True)
        if argv[:2] != ["modprobe", "-r"]:
            self.put_text("/proc/modules", "".join([*lines, "{0} 1 0 - Live 0x0\n".format(name)]))
            os.makedirs(self.path("/sys/module/" + name), exist_ok=True)
        elif name not in self.busy:
            left = [line.replace(name + ",", "") for line in lines if line.split()[0] != name]
            self.put_text("/proc/modules", "".join(left))
            os.rename(self.path("/sys/module/" + name), self.path("/gone-" + name))
        return ""


def test_each_comes_before_what_it_needs():
    found = order.order(order.loaded(MODULES), "nf_conntrack")
    assert [(one.name, one.uses) for one in found] == [
        ("nft_masq", 3),
        ("nf_conntrack_netlink", 0),
        ("nft_chain_nat", 1),
        ("nf_nat", 0),
        ("nf_conntrack", 1),
    ]


@pytest.mark.parametrize("text", ["", "nf_conntrack", "a b c d", "nf_conntrack 1 x -", "a 1 1 a, Live"])
def test_what_is_no_list_of_modules_has_none(text):
    assert [one.name for one in order.order(order.loaded(text), "nf_conntrack")] == []


def test_unloaded_in_order_and_loaded_the_other_way_round_with_its_values(tmp_path):
    host = Loader(tmp_path)
    was = order.state(host)
    names = ["nft_masq", "nf_conntrack_netlink", "nft_chain_nat", "nf_nat", "nf_conntrack"]
    assert was == {
        "modules": names,
        "values": [["/sys/module/nf_conntrack/parameters/hashsize", "1024"], [SYSCTL + "nf_conntrack_max", "8192"]],
    }
    for _again in range(2):
        order.make(host, {"modules": [], "values": []})
    assert host.commands == [["modprobe", "-r", name] for name in names]
    host.put_text(SYSCTL + "nf_conntrack_max", "65536\n")
    host.commands.clear()
    for _again in range(2):
        order.make(host, was)
    assert host.commands == [["modprobe", name] for name in reversed(names)]
    assert (host.read(SYSCTL + "nf_conntrack_max") or "").strip() == "8192"


def test_what_stays_loaded_is_named(tmp_path):
    with pytest.raises(OSError, match="still loaded: nf_conntrack") as caught:
        order.make(Loader(tmp_path, busy=("nf_conntrack",)), {"modules": [], "values": []})
    assert caught.value.strerror == "still loaded: nf_conntrack"
