# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The door to the machine, on a directory of its own."""

import hashlib
import os
import struct
import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import (
    FEW,
    LONGEST_FILE,
    LONGEST_LINE,
    LONGEST_TEXT,
    File,
    Host,
)


@pytest.fixture
def host(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(b"text\n")
    (tmp_path / "folder/another").write_bytes(b"")
    os.symlink("file", str(tmp_path / "folder/link"))
    os.symlink("nowhere", str(tmp_path / "folder/dangling"))
    os.mkfifo(str(tmp_path / "fifo"))
    return Host(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/folder/file", "text\n"),
        ("/folder/link", "text\n"),
        ("/folder/another", ""),
        ("/folder", None),
        ("/folder/none", None),
        ("/folder/file/below", None),
        ("/folder/dangling", None),
        ("/fifo", None),
    ],
)
def test_read(host, path, text):
    assert host.read(path) == text
    assert host.unreadable == []


@pytest.mark.parametrize(("more", "length"), [(0, LONGEST_TEXT), (1, None)])
def test_a_text_that_is_too_long_is_not_cut_but_unreadable(host, more, length):
    with open(host.path("/long"), "wb") as target:
        target.write(b"x" * (LONGEST_TEXT + more))
    found = host.read("/long")
    assert (None if found is None else len(found)) == length
    assert host.unreadable == ["/long"] * more


def test_bytes_that_are_no_text_are_no_error(host):
    with open(host.path("/latin"), "wb") as target:
        target.write(b"# Gr\xfc\xdfe\nmax=1\n")
    assert host.read("/latin").splitlines()[1] == "max=1"


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (100, "one\ntwo\nthree\n"),
        (14, "one\ntwo\nthree\n"),
        (13, "two\nthree\n"),
        (10, "two\nthree\n"),
        (9, "three\n"),
        (3, ""),
    ],
)
def test_the_tail_begins_with_a_line(host, limit, text):
    with open(host.path("/log"), "w", encoding="ascii") as target:
        target.write("one\ntwo\nthree\n")
    assert host.tail("/log", limit) == text
    assert host.tail("/none", limit) is None
    assert host.tail("/fifo", limit) is None


def shell(script):
    return ["/bin/sh", "-c", script]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (shell("echo one; echo two >&2; printf three"), "one\nthree"),
        (shell("exit 0"), ""),
        (shell("echo one; exit 1"), None),
        (shell("echo one; kill -9 $$"), None),
        (["/none/journalctl"], None),
        (["/etc"], None),
        (["/bin/echo", "a\0b"], None),
        (["/bin/echo", "$HOME; *"], "$HOME; *\n"),
        (shell("echo $LC_ALL:$HOME:$LANG; pwd"), "C::\n/\n"),
        (shell("printf 'Gr\\374\\000\\n'"), "Gr\ufffd\0\n"),
    ],
)
def test_run(argv, said):
    host = Host()
    before = os.listdir("/proc/self/fd")
    assert host.run(argv, 100) == said
    assert host.unreadable == []
    assert os.listdir("/proc/self/fd") == before


def test_a_run_has_no_input():
    own = os.dup(0)
    reading, writing = os.pipe()
    try:
        os.dup2(reading, 0)
        os.write(writing, b"input\n")
        os.close(writing)
        assert Host().run(["/bin/cat"], 100) == ""
    finally:
        os.dup2(own, 0)
        os.close(own)
        os.close(reading)


@pytest.mark.parametrize(
    ("limit", "said"), [(8, "one\ntwo\n"), (7, "one\n"), (4, "one\n"), (3, ""), (100, "one\ntwo\n")]
)
def test_no_more_than_the_limit_of_what_is_written(host, limit, said):
    assert Host().run(shell("echo one; echo two"), limit) == said
    with open(host.path("/program"), "wb") as target:
        target.write(b"one\ntwo\n")
    assert host.run(["/program", "argument"], limit) == said


@pytest.mark.parametrize("end", ["", "trap '' PIPE; "])
def test_the_rest_of_what_is_written_is_not_waited_for(end):
    began = time.monotonic()
    said = Host().run(shell(end + "while :; do echo line; done 2>/dev/null"), 1000, longest=2.0 if end else 60.0)
    assert said == "line\n" * 200
    assert time.monotonic() - began < 30.0


def alive(pid):
    """Whether there is such a process, other than one that has ended and not been waited for."""
    try:
        with open("/proc/{0}/stat".format(pid), encoding="ascii") as source:
            return source.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo $$ > {0}; echo one; exec sleep 90", None),
        ("echo $$ > {0}; exec sleep 90 >&-", None),
        ("sleep 90 & echo $! > {0}; echo one", "one\n"),
        ("sleep 90 & echo $! > {0}; echo one; exit 1", None),
        ("trap '' TERM; sleep 90 & echo $! > {0}; wait", None),
    ],
    ids=["hangs", "hangs without output", "leaves a child", "leaves a child and fails", "hangs with a child"],
)
def test_a_run_has_an_end_and_leaves_nothing_behind(tmp_path, script, said):
    began = time.monotonic()
    assert Host().run(shell(script.format(tmp_path / "pid")), 100, longest=0.5) == said
    assert time.monotonic() - began < 60.0
    pid = (tmp_path / "pid").read_text().strip()
    while alive(pid) and time.monotonic() - began < 60.0:
        time.sleep(0.01)
    assert not alive(pid)


def test_in_a_tree_nothing_is_run(host):
    mark = host.path("/mark")
    with open(host.path("/program"), "w", encoding="ascii") as target:
        target.write("#!/bin/sh\ntouch {0}\n".format(mark))
    os.chmod(host.path("/program"), 0o755)
    assert host.run(["/program"], 1000).startswith("#!/bin/sh\n")
    assert host.run(["/bin/sh", "-c", "touch " + mark], 1000) is None
    assert not os.path.exists(mark)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/folder/link", "file"),
        ("/folder/dangling", "nowhere"),
        ("/folder/file", None),
        ("/folder", None),
        ("/none", None),
    ],
)
def test_link(host, path, target):
    assert host.link(path) == target
    assert host.unreadable == []


@pytest.mark.parametrize(
    ("path", "names"),
    [("/folder", ["another", "dangling", "file", "link"]), ("/none", []), ("/folder/file", [])],
)
def test_list(host, path, names):
    assert host.list(path) == names
    assert host.unreadable == []


@pytest.mark.parametrize(
    ("path", "there"),
    [("/folder", True), ("/folder/file", True), ("/folder/dangling", True), ("/fifo", True), ("/none", False)],
)
def test_exists(host, path, there):
    assert host.exists(path) is there


def test_file(host):
    os.chmod(host.path("/folder/file"), 0o640)
    found = host.file("/folder/file")
    assert isinstance(found, File)
    assert (found.sha256, found.mode) == (hashlib.sha256(b"text\n").hexdigest(), "0640")
    assert found.owner
    assert found.group
    assert host.file("/folder/link") == found


def test_owners_without_a_name_are_numbers(host):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(host.path("/folder/file"), 54321, 54322)
    found = host.file("/folder/file")
    assert (found.owner, found.group) == ("54321", "54322")


@pytest.mark.parametrize("path", ["/folder", "/none", "/folder/dangling", "/fifo"])
def test_what_is_no_file(host, path):
    assert host.file(path) is None
    assert host.unreadable == []


def test_a_file_that_is_too_long_is_unreadable(host):
    with open(host.path("/long"), "wb") as target:
        target.write(b"x" * (LONGEST_FILE + 1))
    assert host.file("/long") is None
    assert host.unreadable == ["/long"]


def test_what_may_not_be_read_is_remembered_once(host):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    os.chmod(host.path("/folder/file"), 0)
    os.chmod(host.path("/folder"), 0o300)
    assert (host.read("/folder/file"), host.file("/folder/file"), host.list("/folder")) == (None, None, [])
    assert host.unreadable == ["/folder/file", "/folder"]


def test_a_loop_of_links_cannot_be_read_and_is_remembered(host):
    os.symlink("loop", host.path("/loop"))
    assert (host.read("/loop"), host.file("/loop"), host.list("/loop")) == (None, None, [])
    assert host.unreadable == ["/loop"]


def test_what_somebody_may_run_is_a_file(host, tmp_path):
    script = tmp_path / "script"
    script.write_text("")
    assert not host.is_executable("/script")
    script.chmod(0o610)
    assert host.is_executable("/script")
    assert not host.is_executable("/folder")
    assert not host.is_executable("/none")
    assert host.unreadable == []


@pytest.mark.parametrize(("path", "can"), [("/folder/file", True), ("/none", False)])
def test_writable(host, path, can):
    assert host.writable(path) is can


def test_the_machine_itself():
    host = Host()
    assert host.path("/proc/meminfo") == "/proc/meminfo"
    assert host.machine() == os.uname().machine
    assert host.page_size() in (4096, 16384, 65536)
    assert host.is_root() is (os.geteuid() == 0)
    assert host.python().startswith("3.")


def test_lines(host):
    with open(host.path("/table"), "wb") as target:
        target.write(b"one\n\ntwo \xff\n" + b"x" * (LONGEST_LINE + 5) + b"\nlast")
    lines = host.lines("/table")
    assert next(lines) == "one\n"
    assert list(lines) == ["\n", "two \ufffd\n", "x" * LONGEST_LINE, "last"]


@pytest.mark.parametrize("path", ["/none", "/folder/file/below"])
def test_no_lines(host, path):
    assert list(host.lines(path)) == []
    assert host.unreadable == []


def test_lines_that_cannot_be_read_are_remembered(host):
    os.symlink("loop", host.path("/loop"))
    assert list(host.lines("/loop")) == []
    assert host.unreadable == ["/loop"]


def test_chunks(host):
    with open(host.path("/table"), "wb") as target:
        target.write(b"0123456789")
    assert list(host.chunks("/table", 4)) == [b"0123", b"4567", b"89"]


@pytest.mark.parametrize("path", ["/none", "/folder", "/fifo"])
def test_no_chunks(host, path):
    assert (list(host.chunks(path)), host.unreadable) == ([], [])


@pytest.mark.parametrize("path", ["/none", "/folder/file", "/fifo"])
def test_within_raises_for_what_is_no_namespace(host, path):
    opened = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=r"No such file|Invalid argument|Operation not permitted"):
        host.within(path, lambda: 1, 10)
    assert os.listdir("/proc/self/fd") == opened
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
USER = 65534


@pytest.fixture
def roots(tmp_path):
    """A folder that is as / is: root's, with folders, files and links below it."""
    os.chmod(str(tmp_path), 0o755)
    for name in ("etc/d", "open", "users"):
        os.makedirs(str(tmp_path / name), 0o755)
        for folder in (tmp_path / name, (tmp_path / name).parent):
            os.chmod(str(folder), 0o755)
    for name in ("etc/d/file", "open/file", "users/file", "etc/d/shared", "etc/d/world", "etc/d/others"):
        (tmp_path / name).write_text("text")
        os.chmod(str(tmp_path / name), 0o644)
    os.chmod(str(tmp_path / "open"), 0o1777)
    os.chmod(str(tmp_path / "etc/d/world"), 0o646)
    os.chmod(str(tmp_path / "etc/d/shared"), 0o664)
    os.chown(str(tmp_path / "etc/d/shared"), 0, USER)
    os.chown(str(tmp_path / "etc/d/others"), USER, 0)
    os.chown(str(tmp_path / "users"), USER, USER)
    for name, target in (
        ("etc/d/relative", "../d/file"),
        ("etc/d/absolute", "/etc/d/file"),
        ("etc/d/away", "/open/file"),
        ("etc/d/above", "../../../../../etc/d/file"),
        ("etc/d/dangling", "/etc/none"),
        ("etc/d/loop", "loop"),
        ("link", "users"),
    ):
        os.symlink(target, str(tmp_path / name))
    return str(tmp_path)


@AS_ROOT
@pytest.mark.parametrize(
    ("path", "leads_to", "why"),
    [
        ("/etc/d/file", "/etc/d/file", None),
        ("etc//d/./file", "/etc/d/file", None),
        ("/etc/d/relative", "/etc/d/file", None),
        # As it is for a process whose root this folder is.
        ("/etc/d/absolute", "/etc/d/file", None),
        ("/etc/d/above", "/etc/d/file", None),
        ("/etc/d/dangling", "/etc/none", None),
        ("/etc/d/none/below", "/etc/d/none/below", None),
        ("/etc/d/world", "/etc/d/world", "everybody may write {0}/etc/d/world"),
        ("/etc/d/shared", "/etc/d/shared", "group 65534 may write {0}/etc/d/shared"),
        ("/etc/d/others", "/etc/d/others", "{0}/etc/d/others belongs to user 65534"),
        ("/open/file", "/open/file", "everybody may write {0}/open"),
        ("/etc/d/away", "/open/file", "everybody may write {0}/open"),
        ("/users/file", "/users/file", "{0}/users belongs to user 65534"),
        # Not looked at: who owns a folder can make a look at what is in it take long.
        ("/users/none/../file", "/users/none/../file", "{0}/users belongs to user 65534"),
        ("/link/file", "/users/file", "{0}/users belongs to user 65534"),
    ],
)
def test_who_else_may_write_what_a_path_leads_to(roots, path, leads_to, why):
    assert Host().resolved(path, roots) == (roots + leads_to, why and why.format(roots))


@AS_ROOT
def test_a_loop_of_links_ends(roots):
    assert Host().resolved("/etc/d/loop", roots)[1] is None


@AS_ROOT
def test_the_group_root_is_root_unless_there_is_a_list(roots):
    path = roots + "/etc/d/file"
    os.chmod(path, 0o664)
    assert Host().resolved("/etc/d/file", roots)[1] is None
    # Version 2; owner rw-, user 65534 rw-, group r--, mask rw-, others r--.
    entries = [(1, 6, 2**32 - 1), (2, 6, USER), (4, 4, 2**32 - 1), (16, 6, 2**32 - 1), (32, 4, 2**32 - 1)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", packed)
    except OSError as error:
        pytest.skip("no lists of access here: {0}".format(error.strerror))
    assert Host().resolved("/etc/d/file", roots)[1] == "group 0 may write {0}".format(path)


def test_in_a_tree_all_is_vouched_for(host):
    os.chmod(host.path("/folder"), 0o777)
    assert host.exposed("/folder/file") is None
    assert (host.user(1), host.doubt(1)) == (None, None)
    os.makedirs(host.path("/proc/1"))
    assert host.user(1) == 0


@pytest.mark.parametrize("what", ["exists", "read", "link", "list", "file", "is_executable", "writable", "exposed"])
@pytest.mark.parametrize("path", ["/folder/fi\0le", "/folder/\ud800"], ids=["NUL", "half a pair"])
def test_no_file_has_such_a_name(host, what, path):
    assert not getattr(host, what)(path)
    assert not getattr(Host(), what)(path)
    assert (list(host.lines(path)), host.tail(path, 9), host.mode(path)) == ([], None, None)
    assert host.unreadable == []


def test_what_is_not_root_s_has_so_much_time():
    host = Host(budget=0.05)
    met = []
    for thing in host.unhurried(range(1000), "{0} are left"):
        met.append(thing)
        time.sleep(0.01)
    assert 1 <= len(met) <= 5
    assert host.untold == ["{0} are left".format(1000 - len(met))]
    assert list(host.unhurried(range(9), "{0} more")) == []
    assert host.untold[1:] == ["9 more"]
    assert list(Host().unhurried(range(9), "")) == list(range(9))


@pytest.mark.parametrize(("crowd", "roots"), [(FEW, FEW), (FEW + 1, 1)])
def test_who_starts_very_many_set_user_id_programs_is_not_root(crowd, roots):
    class Crowded(Host):
        def processes(self):
            return list(range(1, crowd + 1))

        def _effective(self, process):
            return 0

        def read(self, path):
            return "Name:\tsu\nUid:\t{0}\t0\t0\t0\n".format(0 if path == "/proc/1/status" else USER)

    found = Crowded().by_user()
    assert (len(found[0]), len(found[1])) == (roots, crowd - roots)
    assert (Crowded().user(1), Crowded().user(2)) == (0, USER)
