# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A host that is a folder: nothing of this machine is in what is read of it."""

import gzip
import os
import struct

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host import tree

PROC = "/proc/sys/net/netfilter/nf_conntrack_"
KERNEL = "/lib/modules/6.1.0-37-amd64"


class Folder:
    def __init__(self, root):
        self.root = root
        root.mkdir()

    def write(self, path, content=""):
        at = self.root / path.lstrip("/")
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(content if isinstance(content, bytes) else content.encode())

    def link(self, path, target):
        at = self.root / path.lstrip("/")
        at.parent.mkdir(parents=True, exist_ok=True)
        at.symlink_to(target)

    def opened(self):
        return tree.opened(str(self.root))

    def facts(self):
        return gather(self.opened(), ["all"])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret").write_text("of the machine that reads\n")
    return Folder(tmp_path / "image")


CONFIG = "# CONFIG_HZ_100 is not set\nCONFIG_HZ_300=y\nCONFIG_HZ=300\n"


@pytest.mark.parametrize(
    ("path", "content", "ticks"),
    [
        ("/boot/config-6.1.0-37-amd64", CONFIG, 300),
        (KERNEL + "/config", CONFIG, 300),
        ("/boot/config-6.1.0-38-amd64", CONFIG, None),
        ("/proc/config.gz", gzip.compress(CONFIG.encode()), 300),
        ("/proc/config.gz", CONFIG, None),
        ("/proc/config.gz", gzip.compress(CONFIG.encode() + b"#" * 2**22), 300),
        (KERNEL + "/config", "CONFIG_HZ=\n", None),
        ("/etc/motd", CONFIG, None),
    ],
)
def test_ticks_are_those_of_the_kernel_s_configuration(folder, path, content, ticks):
    folder.write(KERNEL + "/modules.dep")
    folder.write(path, content)
    assert folder.facts()["kernel"]["hz"] == ticks


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("real", "inside\n"),
        ("/etc/real", "inside\n"),
        ("../etc/real", "inside\n"),
        ("../../../../../../etc/real", "inside\n"),
        ("../../secret", None),
        ("/secret", None),
    ],
    ids=repr,
)
def test_links_lead_nowhere_out_of_it(folder, target, found):
    folder.write("/etc/real", "inside\n")
    folder.link("/etc/link", target)
    host = folder.opened()
    assert host.read("/etc/link") == found
    assert (host.link("/etc/link"), host.exists("/etc/link")) == (target, True)


def test_folders_that_are_links_lead_nowhere_out_of_it(folder, tmp_path):
    folder.write("/usr/lib/modules/x", "1\n")
    folder.link("/lib", "/usr/lib")
    folder.link("/out", str(tmp_path))
    host = folder.opened()
    assert host.list("/lib/modules") == ["x"]
    assert (host.list("/out"), host.read("/out/secret")) == ([], None)


def test_a_loop_of_links_is_told(folder):
    folder.link("/etc/a", "b")
    folder.link("/etc/b", "a")
    host = folder.opened()
    assert (host.read("/etc/a"), host.unreadable) == (None, ["/etc/a"])


def test_nothing_is_run(folder):
    folder.write("/usr/bin/journalctl", "nf_conntrack: table full, dropping packet\n")
    folder.write("/proc/kmsg", "<4>[1.0] nf_conntrack: table full, dropping packet\n")
    host = folder.opened()
    assert host.run(["/usr/bin/journalctl"], 1000) is None
    assert host.kernel_log(1000) is None
    assert host.inside(["/proc/self/ns/net"], lambda: 1) == {}


def test_proc_and_sys_of_the_machine_that_reads_are_none_of_it(folder, monkeypatch):
    folder.write(PROC + "max", "65536\n")
    folder.write(KERNEL + "/modules.dep")
    folder.write(KERNEL + "/kernel/net/netfilter/nf_conntrack.ko.xz")
    assert folder.facts()["table"]["max"] == 65536
    monkeypatch.setattr(os.path, "ismount", lambda path: path.endswith("/proc"))
    found = folder.facts()
    assert (found["state"], found["table"]["max"]) == ("loadable", None)
    assert "/proc: it is of the machine that reads the tree" in found["untold"]


def program(machine, word, order="<"):
    return b"\x7fELF" + bytes([word, 1 if order == "<" else 2]) + bytes(12) + struct.pack(order + "H", machine)


@pytest.mark.parametrize(
    ("files", "machine", "pointer"),
    [
        ({"/bin/sh": program(62, 2)}, "x86_64", 8),
        ({"/bin/sh": program(3, 1)}, "i686", 4),
        ({"/usr/bin/env": program(22, 2, ">")}, "s390x", 8),
        ({"/bin/sh": program(40, 1), "/lib/modules/6.1.0-9-arm64/modules.dep": ""}, "aarch64", 8),
        ({"/proc/sys/kernel/osrelease": "4.18.0-553.el8_10.x86_64\n"}, "x86_64", 8),
        ({"/bin/sh": "#!/bin/sh"}, "x86_64", 8),
        ({}, "x86_64", 8),
    ],
    ids=["64 bits", "32 bits", "big endian", "the kernel's counts", "release", "a script", "nothing"],
)
def test_the_architecture_is_that_of_the_tree(folder, files, machine, pointer):
    for path, content in files.items():
        folder.write(path, content)
    host = folder.opened()
    assert host.machine() == machine
    assert folder.facts()["kernel"]["pointer_bytes"] == pointer
    is_told = not any("architecture" in said for said in host.untold)
    assert is_told == bool(files and "#!/bin/sh" not in files.values())


def test_an_image_that_never_ran(folder):
    folder.write("/bin/sh", program(62, 2))
    for release in ("6.1.0-9-amd64", "6.1.0-37-amd64"):
        folder.write("/lib/modules/{0}/modules.dep".format(release))
        folder.write("/lib/modules/{0}/kernel/net/netfilter/nf_conntrack.ko".format(release))
    folder.write("/lib/modules/7.0.0-headers-only/build", "")
    folder.write("/etc/modprobe.d/a.conf", "options nf_conntrack hashsize=65536\n")
    found = folder.facts()
    assert (found["state"], found["kernel"]["release"]) == ("loadable", "6.1.0-37-amd64")
    assert found["kernel"]["init_netns"] is True
    assert found["memory"] == {"total_bytes": None, "available_bytes": None}
    assert found["outcome"]["reload"]["net.netfilter.nf_conntrack_max"]["value"] == 524288
    assert [said.partition(":")[0] for said in found["untold"]] == [
        "which kernel will run",
        "the values in force",
        "memory",
        "what runs there, as kube-proxy may",
    ]


@pytest.mark.parametrize(("names", "state"), [("kernel/net/netfilter/nf_conntrack.ko\n", "builtin"), ("", "absent")])
def test_a_kernel_that_has_it_built_in(folder, names, state):
    folder.write(KERNEL + "/modules.dep")
    folder.write(KERNEL + "/modules.builtin", names)
    assert folder.facts()["state"] == state


def test_a_sosreport(folder):
    values = "kernel.osrelease = 5.14.0-427.el9.x86_64\nnet.netfilter.nf_conntrack_max = 65536\n"
    values += "net.netfilter.nf_conntrack_count = 65500\nnet.netfilter.nf_conntrack_buckets = 16384\n"
    values += "net.netfilter.nf_conntrack_tcp_timeout_established = 86400\nnet.core.netdev_max_backlog = 1000\n"
    folder.write("/sos_commands/kernel/sysctl_-a", values)
    folder.write(
        "/sos_commands/kernel/lsmod",
        "Module                  Size  Used by\nnf_conntrack 200704 3 nf_nat,xt_conntrack\n",
    )
    folder.write(
        "/sos_commands/kernel/dmesg", "[   12.345678] nf_conntrack: nf_conntrack: table full, dropping packet\n"
    )
    folder.write("/sos_commands/systemd/systemctl_list-units", "")
    folder.write("/proc/meminfo", "MemTotal:       16000000 kB\n")
    folder.write("/proc/uptime", "4000.00 100.00\n")
    folder.write("/etc/sysctl.d/90-c.conf", "net.netfilter.nf_conntrack_max = 131072\n")
    folder.write("/etc/modules-load.d/c.conf", "nf_conntrack\n")
    found = folder.facts()
    assert (found["state"], found["kernel"]["release"]) == ("loaded", "5.14.0-427.el9.x86_64")
    table = {name: found["table"][name] for name in ("count", "max", "buckets")}
    assert table == {"count": 65500, "max": 65536, "buckets": 16384}
    assert found["timeouts"] == {"tcp_established": 86400}
    assert found["log"]["table_full"] == 1
    assert found["services"]["systemd_sysctl"] == "/usr/lib/systemd/systemd-sysctl"
    assert found["outcome"]["boot"]["net.netfilter.nf_conntrack_max"]["value"] == 131072
    assert [said.partition(":")[0] for said in found["untold"]] == ["what runs there, as kube-proxy may"]


def test_what_is_no_folder_is_an_error(folder, tmp_path):
    with pytest.raises(OSError, match="no such folder"):
        tree.opened(str(tmp_path / "secret"))
