# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Network namespaces, on a tree where those behind a mount are trees of their own."""

import os
import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.kernel import FLAVOURS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.namespace_names import (
    container_name,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.namespaces import (
    MOST_PROCESSES,
    MOST_TOLD,
    door,
    namespaces,
)
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    STATISTICS,
    Conversation,
    Table,
    done,
    statistics,
)

NAMES = FLAVOURS["nf_conntrack"]
OWN = 4026531840
OTHER = 4026532001
STAT = "entries found drop early_drop\n{0:08x} 00000001 {1:08x} {2:08x}\n{0:08x} 00000001 00000000 00000001\n"
SYSCTLS = "/proc/sys/net/netfilter/nf_conntrack_"


class Machine(Host):
    """Its own namespace holds process 1; open_door() puts a tree behind a door, which inside() then reads."""

    def __init__(self, root):
        super().__init__(root)
        self.behind = {}
        self.looks = []
        self.refused = set()
        self.counted, self.asked = {}, 0  # drop and early_drop by the tree; and how often for any
        self.write_file("/proc/net/stat/nf_conntrack", STAT.format(3, 0, 0))
        self.process(1, OWN, "systemd", "0::/init.scope\n", STAT.format(3, 0, 0))
        self.link_file("/proc/self/ns/net", "net:[{0}]".format(OWN))

    def link(self, path):
        if path in self.refused:
            self._remember(path, PermissionError(13, "Permission denied"))
            return None
        return super().link(path)

    def namespace(self, path):
        text = self.read(path) or ""
        return int(text) if text else None

    def inside(self, files, look):
        self.looks.append(list(files))
        found, here = {}, self.root
        for file in files:
            if file in self.behind:
                self.root = self.behind[file]
                found[file] = look()
                self.root = here
        return found

    def netfilter(self):
        """Of a kernel that has no file for what it counts, and tells it in each namespace."""
        table = Table()
        table.policies = {STATISTICS: [statistics(self.counted.get(self.root, [0, 0]), first=10), done()]}
        self.asked += 1
        return Conversation(table)

    def write_file(self, path, text):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w", encoding="utf-8") as target:
            target.write(text)

    def link_file(self, path, target):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        os.symlink(target, self.path(path))

    def process(self, number, inode, comm="nginx", cgroup="0::/\n", stat=None):
        folder = "/proc/{0}/".format(number)
        self.link_file(folder + "ns/net", "net:[{0}]".format(inode))
        self.write_file(folder + "comm", comm + "\n")
        self.write_file(folder + "cgroup", cgroup)
        if stat:
            self.write_file(folder + "net/stat/nf_conntrack", stat)

    def open_door(self, door, **files):
        self.behind[door] = os.path.join(self.root, "behind", str(len(self.behind)))
        here, self.root = self.root, self.behind[door]
        for name, text in files.items():
            self.write_file("/proc/net/stat/nf_conntrack" if name == "stat" else SYSCTLS + name, text)
        self.root = here


@pytest.fixture
def machine(tmp_path):
    return Machine(str(tmp_path))


def told(machine, limit=100):
    return namespaces(machine, NAMES, limit).namespaces


def test_the_own_one_is_told_even_if_idle(machine):
    found = namespaces(machine, NAMES, 100)
    assert found.netns_total == 1
    (own,) = found.namespaces
    assert own._asdict() == {
        "inode": OWN,
        "name": "own",
        "own": True,
        "count": 3,
        "max": 100,
        "usage": 0.03,
        "drop": 0,
        "early_drop": 1,
        "timeouts": {},
        "switches": {},
    }
    # Nothing was entered.
    assert machine.looks == []


def test_another_is_read_from_outside_at_its_first_process(machine):
    machine.process(100, OTHER, comm="later")
    machine.process(20, OTHER, comm="nginx", stat=STAT.format(90, 7, 0))
    other = told(machine)[0]
    assert (other.inode, other.name, other.own) == (OTHER, "pid 20 (nginx)", False)
    assert (other.count, other.usage, other.drop, other.early_drop) == (90, 0.9, 7, 1)


def test_idle_ones_are_counted_and_not_told(machine):
    machine.process(20, OTHER, stat=STAT.format(0, 0, 0).replace("00000001\n", "00000000\n"))
    found = namespaces(machine, NAMES, 100)
    assert ([each.inode for each in found.namespaces], found.netns_total) == ([OWN], 2)


def test_drops_come_before_usage_and_the_own_one_is_never_left_out(machine):
    for number in range(MOST_TOLD + 5):
        machine.process(100 + number, OTHER + number, stat=STAT.format(10 + number, 0, 0))
    machine.process(2000, OTHER + 1000, stat=STAT.format(1, 2, 0))
    found = namespaces(machine, NAMES, 100)
    assert found.netns_total == MOST_TOLD + 7
    assert found.namespaces[0].inode == OTHER + 1000
    assert [each.count for each in found.namespaces[1:-1]] == list(range(9 + MOST_TOLD + 5, 9 + 6, -1))
    assert len(found.namespaces) == MOST_TOLD + 1
    assert found.namespaces[-1].own


def test_one_without_a_process_is_entered(machine):
    machine.write_file("/var/run/netns/blue", str(OTHER))
    machine.write_file("/var/run/netns/gone", "")
    machine.open_door("/var/run/netns/blue", stat=STAT.format(5, 1, 0), count="5\n")
    found = namespaces(machine, NAMES, 100)
    assert found.netns_total == 2
    assert [(each.name, each.count, each.drop) for each in found.namespaces] == [
        ("blue", 5, 1),
        ("own", 3, 0),
    ]


@pytest.fixture
def without_statistics(machine):
    """Built without CONFIG_NF_CONNTRACK_PROCFS."""
    os.unlink(machine.path("/proc/net/stat/nf_conntrack"))
    os.unlink(machine.path("/proc/1/net/stat/nf_conntrack"))
    machine.write_file(SYSCTLS + "count", "4\n")
    return machine


def test_a_kernel_without_that_file_is_asked_in_each_namespace(without_statistics):
    machine = without_statistics
    for number, inode in ((20, OTHER), (30, OTHER + 1), (40, OTHER + 2)):
        machine.process(number, inode)
    machine.open_door("/proc/20/ns/net", count="6\n")
    machine.open_door("/proc/30/ns/net", count="0\n")
    machine.open_door("/proc/40/ns/net", count="0\n")
    machine.counted = {machine.root: [1, 2], machine.behind["/proc/20/ns/net"]: [7, 8]}
    machine.counted[machine.behind["/proc/40/ns/net"]] = [0, 3]
    assert [(each.inode, each.count, each.drop, each.early_drop) for each in told(machine)] == [
        (OTHER, 6, 7, 8),
        (OWN, 4, 1, 2),
        (OTHER + 2, 0, 0, 3),
    ]
    assert machine.asked == 4


def test_where_that_is_not_told_the_count_is_all_there_is(without_statistics):
    machine = without_statistics
    machine.write_file("/proc/modules", "nf_conntrack 1 1 - Live 0x0\n")
    machine.process(20, OTHER)
    machine.open_door("/proc/20/ns/net", count="6\n")
    machine.root, here = machine.behind["/proc/20/ns/net"], machine.root
    machine.write_file("/proc/modules", "nf_conntrack 1 1 - Live 0x0\n")
    machine.root = here
    assert [(each.count, each.drop, each.early_drop) for each in told(machine)] == [(6, None, None), (4, None, None)]
    assert machine.asked == 0


def test_a_kernel_with_that_file_is_not_asked(machine):
    machine.write_file("/var/run/netns/blue", str(OTHER))
    machine.open_door("/var/run/netns/blue", stat=STAT.format(5, 1, 0), count="5\n")
    assert len(told(machine)) == 2
    assert machine.asked == 0


@pytest.mark.parametrize("limit", [None, 0])
def test_no_share_without_a_limit(machine, limit):
    machine.process(20, OTHER, stat=STAT.format(9, 0, 0))
    assert told(machine, limit)[0][3:6] == (9, limit, None)


def test_without_a_table_none_is_entered_to_count(machine):
    machine.process(20, OTHER)
    assert [each.own for each in told(machine, None)] == [True]
    assert machine.looks == []


def test_what_cannot_be_entered_is_no_error(machine):
    machine.process(20, OTHER)
    machine.write_file("/var/run/netns/blue", str(OTHER + 1))
    found = namespaces(machine, NAMES, 100)
    assert ([each.own for each in found.namespaces], found.netns_total) == ([True], 3)


def test_timeouts_are_those_that_differ(machine):
    machine.write_file(SYSCTLS + "tcp_timeout_established", "1800\n")
    machine.write_file(SYSCTLS + "udp_timeout", "30\n")
    machine.process(20, OTHER, stat=STAT.format(9, 0, 0))
    machine.open_door(
        "/proc/20/ns/net",
        tcp_timeout_established="432000\n",
        udp_timeout="30\n",
        generic_timeout="600\n",
        buckets="1024\n",
    )
    assert [each.timeouts for each in told(machine)] == [{"tcp_established": 432000, "generic": 600}, {}]
    assert machine.looks == [["/proc/20/ns/net"]]


def test_so_are_switches(machine):
    machine.write_file(SYSCTLS + "tcp_loose", "1\n")
    machine.write_file(SYSCTLS + "tcp_be_liberal", "0\n")
    machine.process(20, OTHER, stat=STAT.format(9, 0, 0))
    machine.open_door("/proc/20/ns/net", tcp_loose="0\n", tcp_be_liberal="0\n")
    assert [each.switches for each in told(machine)] == [{"tcp_loose": 0}, {}]


@pytest.mark.parametrize(
    ("mount", "cgroup", "name"),
    [
        ("/var/run/netns/blue", "0::/\n", "blue"),
        ("/var/run/netns/blue", "0::/docker/" + 64 * "a", "blue"),
        ("/var/run/netns/cni-2f9b6a4e-1f3c-4b8a-9d59-0a1b2c3d4e5f", "0::/docker/" + 64 * "a", "docker aaaaaaaaaaaa"),
        (
            "/var/run/netns/cni-2f9b6a4e-1f3c-4b8a-9d59-0a1b2c3d4e5f",
            "0::/\n",
            "cni-2f9b6a4e-1f3c-4b8a-9d59-0a1b2c3d4e5f",
        ),
        ("/var/run/docker/netns/0123456789ab", "0::/docker/" + 64 * "a", "docker aaaaaaaaaaaa"),
        ("/var/run/docker/netns/0123456789ab", "0::/\n", "pid 20 (nginx)"),
        (None, "", "pid 20 (nginx)"),
    ],
)
def test_name(machine, mount, cgroup, name):
    machine.process(20, OTHER, cgroup=cgroup, stat=STAT.format(9, 0, 0))
    if mount:
        machine.write_file(mount, str(OTHER))
    assert told(machine)[0].name == name


def test_name_of_a_sandbox_without_a_process(machine):
    machine.write_file("/var/run/docker/netns/ingress_sbox", str(OTHER))
    machine.open_door("/var/run/docker/netns/ingress_sbox", stat=STAT.format(9, 0, 0))
    assert told(machine)[0].name == "docker netns ingress_sbox"


def test_a_name_of_any_bytes_can_be_told(machine):
    os.makedirs(machine.path("/var/run/netns"))
    with open(os.fsencode(machine.path("/var/run/netns/")) + b"bl\xfce", "w", encoding="ascii") as target:
        target.write(str(OTHER))
    machine.open_door(os.fsdecode(b"/var/run/netns/bl\xfce"), stat=STAT.format(9, 0, 0))
    assert told(machine)[0].name == "bl?e"


ID = "0123456789ab" + 52 * "c"
POD = "pod2c48913c{0}b29f{0}11e7{0}9350{0}020968147796"


@pytest.mark.parametrize(
    ("cgroup", "name"),
    [
        ("0::/system.slice/docker-{id}.scope\n", "docker 0123456789ab"),
        ("12:pids:/docker/{id}\n11:cpu:/docker/{id}\n", "docker 0123456789ab"),
        ("0::/system.slice/docker.service\n1:name=systemd:/docker/{id}/init.scope\n", "docker 0123456789ab"),
        ("0::/machine.slice/libpod-{id}.scope/container\n", "libpod 0123456789ab"),
        ("0::/system.slice/cri-containerd-{id}.scope\n", "cri-containerd 0123456789ab"),
        (
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{pod_}.slice/cri-containerd-{id}.scope",
            "pod",
        ),
        ("0::/kubepods.slice/kubepods-{pod_}.slice/crio-{id}.scope", "pod"),
        ("4:memory:/kubepods/besteffort/{pod-}/{id}\n", "pod"),
        ("4:memory:/kubepods/besteffort/{pod}/{id}\n", "pod"),
        ("0::/lxc.payload.web-1/system.slice/x.service\n", "lxc web-1"),
        ("3:cpu:/lxc/web\n", "lxc web"),
        ("0::/lxc.monitor.web\n", None),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/docker/0123456789ab\n", None),
        ("", None),
        (None, None),
    ],
    ids=repr,
)
def test_container_name(cgroup, name):
    for mark, text in (("id", ID), ("pod_", POD.format("_")), ("pod-", POD.format("-")), ("pod", POD.format(""))):
        cgroup = cgroup and cgroup.replace("{" + mark + "}", text)
    assert container_name(cgroup) == ("pod 2c48913c-b29f" if name == "pod" else name)


def test_a_kernel_without_links_has_the_own_one_alone(tmp_path):
    machine = Machine(str(tmp_path))
    machine.process(20, OTHER, stat=STAT.format(9, 0, 0))
    for process in ("1", "20", "self"):
        os.unlink(machine.path("/proc/{0}/ns/net".format(process)))
    found = namespaces(machine, NAMES, 100)
    assert [(each.inode, each.name, each.own, each.count) for each in found.namespaces] == [(0, "own", True, 3)]
    assert found.netns_total == 1


def test_what_may_not_be_looked_at_is_said_once(machine):
    for number in range(10, 30):
        machine.process(number, OTHER)
        machine.refused.add("/proc/{0}/ns/net".format(number))
    machine.refused.add("/proc/1/ns/net")
    machine.process(40, OWN, comm="python3")
    assert [each.name for each in told(machine)] == ["own"]
    assert machine.unreadable == ["/proc/*/ns/net"]


def test_no_more_processes_are_looked_at_than_is_said(machine):
    machine.process(10**6, OTHER, stat=STAT.format(9, 0, 0))
    crowd = [str(number) for number in range(1, MOST_PROCESSES + 1)] + ["1000000", "self", "sys"]
    machine.list = lambda path: sorted(crowd) if path == "/proc" else []
    machine._effective = lambda process: 0
    assert [each.own for each in told(machine)] == [True]
    assert machine.unreadable == ["/proc/*/ns/net"]


def test_a_look_leaves_no_child_and_no_open_file(tmp_path):
    host, opened = Host(), sorted(os.listdir("/proc/self/fd"))
    (tmp_path / "file").write_text("")
    os.mkfifo(str(tmp_path / "fifo"))
    doors = [str(tmp_path / name) for name in ("file", "fifo", "none")]
    assert host.inside(doors, lambda: 1) == {}
    assert [host.namespace(door) for door in doors] == [None, None, None]
    assert sorted(os.listdir("/proc/self/fd")) == opened
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("at_the_second", [lambda: time.sleep(60), lambda: 1 // 0], ids=["hangs", "fails"])
def test_a_look_that_goes_wrong_is_given_up(at_the_second):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    looked = []

    def look():
        looked.append(1)
        return {"looks": len(looked)} if len(looked) == 1 else at_the_second()

    begun, doors = time.monotonic(), ["/proc/self/ns/net", "/proc/{0}/ns/net".format(os.getpid())]
    assert Host().inside(doors, look, longest=0.5) == {doors[0]: {"looks": 1}}
    assert time.monotonic() - begun < 10
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_own_namespace_by_its_file():
    host = Host()
    assert host.link("/proc/self/ns/net") == "net:[{0}]".format(host.namespace("/proc/self/ns/net"))


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("web", "/var/run/netns/web"),
        ("12", "/var/run/netns/12"),
        ("20", "/proc/20/ns/net"),
        ("0020", "/proc/20/ns/net"),
        (str(OTHER), "/proc/20/ns/net"),
        (str(OWN), "/proc/1/ns/net"),
        (str(OTHER + 1), "/var/run/docker/netns/3f0c"),
        (str(OTHER + 2), "/var/run/netns/12"),
        (str(OTHER + 4), None),
        ("self", None),
        ("13", None),
        ("-1", None),
        ("", None),
    ],
)
def test_door(machine, wanted, path):
    machine.process(20, OTHER)
    machine.process(30, OTHER)
    machine.process(12, OWN)
    machine.write_file("/var/run/docker/netns/3f0c", str(OTHER + 1))
    machine.write_file("/var/run/netns/12", str(OTHER + 2))
    machine.write_file("/var/run/netns/web", str(OTHER + 3))
    assert door(machine, wanted) == path
