# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Reading a host's table: which way, what goes wrong on it, and into which network namespace."""

import errno
import os
import struct

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.reading import (
    TableError,
    flavour_in_use,
    read,
    within,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    Entry,
    TableHost,
    done,
    golden_text,
    message,
    refused,
)
from ansible_collections.headroom.netfilter.tests.unit.fakes import BUCKETS, HASHSIZE

NAMES = kernel.FLAVOURS["nf_conntrack"]
PROC = "/proc/net/nf_conntrack"
ENTRIES = [Entry(ports=(port, 443)) for port in range(1000)]


def look(host, most=None, updating=False):
    """What is read, and how many entries were handed on."""
    taken = []
    found = read(host, NAMES, most, lambda layout, block: taken.append(len(block) // layout.length), updating)
    assert host.table.open == 0
    return found, sum(taken)


def test_through_ctnetlink():
    found, taken = look(TableHost(ENTRIES))
    assert found == ("ctnetlink", 1000, True, 0, 0, False, False, 0)
    assert taken == 1000


@pytest.mark.parametrize(("most", "everything"), [(1, False), (999, False), (1001, True)])
def test_a_sample(most, everything):
    found, taken = look(TableHost(ENTRIES), most)
    assert (found.examined, taken, found.all) == (min(most, 1000), min(most, 1000), everything)


def test_an_empty_table():
    assert look(TableHost())[0] == ("ctnetlink", 0, True, 0, 0, False, False, 0)


def test_what_cannot_be_read_is_told():
    host = TableHost(answers=[Entry(extra=b"\x08\0\xff\0abcd").told() + message(b""), done()])
    assert look(host)[0] == ("ctnetlink", 1, True, 1, 1, False, False, 0)


def test_whoever_takes_may_have_enough():
    host = TableHost(ENTRIES)
    found = read(host, NAMES, None, lambda layout, block: True)
    assert 0 < found.examined < 1000
    assert (found.all, host.table.open) == (False, 0)


@pytest.mark.parametrize(
    "wrong",
    ["interrupted", refused(errno.ENOBUFS), refused(errno.EMSGSIZE), refused(errno.ETIMEDOUT)],
    ids=["the kernel says so", "answers are lost", "an answer is cut off", "it takes too long"],
)
def test_interrupted(wrong):
    host = TableHost(ENTRIES)
    host.table.before_dump = lambda number: wrong
    found, _taken = look(host)
    assert found.interrupted is True
    assert found.late is isinstance(wrong, TimeoutError)
    assert found.all is (wrong == "interrupted")


@pytest.mark.parametrize("number", [5, -4096, (1 << 31) - 1, -(1 << 31)])
def test_errors_that_there_are_not(number):
    last = done()[:-4] + struct.pack("=i", number)
    found, taken = look(TableHost(answers=[ENTRIES[0].told(), last]))
    assert (found.source, found.interrupted, taken) == ("ctnetlink", True, 1)
    with pytest.raises(TableError, match="Protocol error"):
        look(TableHost(answers=[last]))


def test_what_others_say_is_counted():
    host = TableHost(answers=[ENTRIES[0].told() + ENTRIES[1].told(sequence=9), done(errno.EPERM, sequence=9), done()])
    host.table.forged = lambda dumps: 5
    assert look(host) == (("ctnetlink", 1, True, 0, 0, False, False, 7), 1)


def test_interrupted_by_an_error_at_the_end():
    found, taken = look(TableHost(answers=[ENTRIES[0].told(), done(errno.EINTR)]))
    assert (found.source, found.interrupted, taken) == ("ctnetlink", True, 1)


@pytest.mark.parametrize("path", [HASHSIZE, BUCKETS])
def test_interrupted_by_a_resize(path):
    host = TableHost(ENTRIES)
    del host.values[{HASHSIZE: BUCKETS, BUCKETS: HASHSIZE}[path]]
    host.table.before_dump = lambda number: host.values.update({path: 131072})
    assert look(host)[0].interrupted is True


# Other ways.


@pytest.mark.parametrize("number", [errno.EPROTONOSUPPORT, errno.EPERM, errno.EMFILE], ids=os.strerror)
def test_without_a_socket_the_file_is_read(number):
    host = TableHost(refused=refused(number))
    host.texts[PROC] = golden_text("table.proc") + "nonsense\n"
    found, taken = look(host)
    assert found == (PROC, 36, True, 1, 0, False, False, 0)
    assert taken == 36
    assert look(host, 5) == ((PROC, 5, False, 0, 0, False, False, 0), 5)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP], ids=os.strerror)
def test_where_the_dump_is_refused_the_file_is_read(number):
    host = TableHost(ENTRIES)
    host.table.refuse = number
    host.texts[PROC] = golden_text("table.proc")
    assert look(host)[0].source == PROC


@pytest.mark.parametrize(
    ("number", "updating", "said"),
    [
        (
            errno.EPERM,
            False,
            "the kernel refuses the use of ctnetlink and of /proc/net/nf_conntrack: expected CAP_NET_ADMIN",
        ),
        (errno.EACCES, False, "(EACCES): a security module such as SELinux forbids it"),
        (errno.EPERM, True, "the kernel refuses the use of ctnetlink: expected CAP_NET_ADMIN"),
        (errno.EINVAL, False, "the use of ctnetlink and of /proc/net/nf_conntrack failed (Invalid argument)"),
        (errno.EPROTONOSUPPORT, True, "the use of ctnetlink failed (Protocol not supported)"),
    ],
)
@pytest.mark.parametrize("where", ["socket", "dump"])
def test_nothing_to_read_by(number, updating, said, where):
    host = TableHost(ENTRIES, refused=refused(number) if where == "socket" else None)
    host.table.refuse = number
    with pytest.raises(TableError) as caught:
        look(host, updating=updating)
    assert said in str(caught.value)
    assert host.table.open == 0


def test_the_file_is_no_way_to_update():
    host = TableHost(refused=refused(errno.EPERM))
    host.texts[PROC] = golden_text("table.proc")
    with pytest.raises(TableError, match="CAP_NET_ADMIN"):
        look(host, updating=True)


def test_a_file_that_may_not_be_read_is_none():
    host = TableHost(refused=refused(errno.EPERM))
    host.texts[PROC] = ""
    host.unreadable.append(PROC)
    with pytest.raises(TableError, match="CAP_NET_ADMIN"):
        look(host)


# Whether there is a table at all.


@pytest.mark.parametrize(
    ("gone", "flavour"),
    [((), "nf_conntrack"), (("/sys/module/nf_conntrack",), None)],
    ids=["loaded", "absent"],
)
def test_flavour_in_use(gone, flavour):
    host = TableHost(module=not gone)
    for path in gone:
        del host.texts[path]
        host.values.clear()
    assert flavour_in_use(host) == (kernel.FLAVOURS[flavour] if flavour else None)


# Namespaces.


class Doors(Host):
    """Files of ip netns and links of processes; entering is what a kernel refuses or does."""

    def __init__(self, tmp_path, refusal=None):
        super().__init__(str(tmp_path))
        self.refusal, self.entered = refusal, []
        for folder in ("proc/12/ns", "proc/7/ns", "var/run/netns"):
            (tmp_path / folder).mkdir(parents=True)
        os.symlink("net:[4026531840]", str(tmp_path / "proc/7/ns/net"))
        os.symlink("net:[4026532001]", str(tmp_path / "proc/12/ns/net"))
        (tmp_path / "var/run/netns/web").write_text("4026532002")

    def namespace(self, path):
        text = self.read(path)
        return int(text) if text else None

    def within(self, path, work, longest):
        if self.refusal:
            raise self.refusal
        self.entered.append(path)
        return work()


def work():
    return {"did": 1}


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("web", "/var/run/netns/web"),
        ("12", "/proc/12/ns/net"),
        ("7", "/proc/7/ns/net"),
        ("4026532001", "/proc/12/ns/net"),
        ("4026532002", "/var/run/netns/web"),
    ],
)
def test_within(tmp_path, asked, path):
    host = Doors(tmp_path)
    assert within(host, asked, work) == {"did": 1}
    assert host.entered == [path]


@pytest.mark.parametrize("asked", [None, ""])
def test_here(tmp_path, asked):
    host = Doors(tmp_path)
    assert within(host, asked, work) == {"did": 1}
    assert host.entered == []


@pytest.mark.parametrize("asked", ["web", None], ids=["elsewhere", "here"])
def test_what_work_says_is_wrong(tmp_path, asked):
    def refuse():
        raise TableError("the table is not there")

    with pytest.raises(TableError) as caught:
        within(Doors(tmp_path), asked, refuse)
    assert str(caught.value) == "the table is not there"


@pytest.mark.parametrize("asked", ["wob", "13", "4026539999", "../netns/web", "a\0b", "x" * 256, "."])
def test_no_such_namespace(tmp_path, asked):
    host = Doors(tmp_path)
    with pytest.raises(TableError, match="is not there; expected a name that ip netns lists"):
        within(host, asked, work)
    assert host.entered == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EPERM, r"'web' cannot be entered \(Operation not permitted\): expected CAP_SYS_ADMIN; run as root"),
        (errno.ETIMEDOUT, r"'web' cannot be worked in \(Connection timed out\)"),
        (errno.EINVAL, r"'web' cannot be worked in \(Invalid argument\)"),
    ],
)
def test_a_namespace_in_which_nothing_can_be_done(tmp_path, number, said):
    with pytest.raises(TableError, match=said):
        within(Doors(tmp_path, refused(number)), "web", work)
