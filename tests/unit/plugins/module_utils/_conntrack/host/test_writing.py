# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Files written whole, the lock, and work that outlives its caller, on a directory of its own."""

import errno
import os
import signal
import stat
import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import (
    LONGEST_KEPT,
    Busy,
    Kept,
    WritableHost,
)

OWN = (os.geteuid(), os.getegid())


@pytest.fixture
def host(tmp_path):
    return WritableHost(str(tmp_path))


def a_file(content=b"text\n", mode=0o640, **more):
    return Kept("file", content, "", mode, *OWN, **more)


@pytest.mark.parametrize(
    "before",
    [Kept("none"), a_file(b"old"), Kept("link", b"", "/dev/null", 0o777, *OWN)],
    ids=["nothing", "a file", "a link"],
)
@pytest.mark.parametrize(
    "wanted",
    [Kept("none"), a_file(), a_file(b"", 0o4755), Kept("link", b"", "elsewhere", 0o777, *OWN)],
    ids=["nothing", "a file", "an empty one, set-user-id", "a link"],
)
def test_whatever_was_there_it_is_then_so(host, before, wanted):
    old = os.umask(0o077)
    try:
        host.put("/file", before)
        host.put("/file", wanted)
    finally:
        os.umask(old)
    assert host.kept("/file") == wanted
    assert os.listdir(host.root) == ([] if wanted.kind == "none" else ["file"])


def test_a_link_is_not_followed(host):
    host.put("/target", a_file(b"kept\n"))
    host.put("/file", Kept("link", b"", "target", 0o777, *OWN))
    host.put("/file", a_file(b"new\n"))
    assert host.kept("/target").content == b"kept\n"


def test_attributes_come_along(host):
    try:
        os.setxattr(host.root, "user.probe", b"x")
    except OSError:
        pytest.skip("this file system has none")
    wanted = a_file(attributes={"user.origin": b"\x00\xff"})
    host.put("/file", wanted)
    assert host.kept("/file") == wanted


def test_what_cannot_be_made_again_is_known(host):
    os.mkfifo(host.path("/fifo"))
    assert host.kept("/fifo").kind == host.kept("/").kind == "other"
    with open(host.path("/long"), "wb") as target:
        target.truncate(LONGEST_KEPT + 1)
    with pytest.raises(OSError, match="too large") as caught:
        host.kept("/long")
    assert caught.value.errno == errno.EFBIG


def test_what_an_earlier_write_left_aside_is_in_nobodys_way(host):
    with open(host.path(host.aside("/file")), "w") as target:
        target.write("half")
    host.put("/file", a_file())
    assert os.listdir(host.root) == ["file"]


def test_a_folder_in_its_place_stays(host):
    host.make_folder("/folder")
    with pytest.raises(IsADirectoryError):
        host.put("/folder", a_file())
    assert os.listdir(host.root) == ["folder"]
    assert stat.S_IMODE(os.lstat(host.path("/folder")).st_mode) == 0o755


def test_a_lock_is_held_by_one(host):
    with host.lock("/lock", 0, "ann"):
        begun = time.monotonic()
        with pytest.raises(Busy, match="ann"), host.lock("/lock", 0.2, "bob"):
            pass
        assert time.monotonic() - begun >= 0.2
    with host.lock("/lock", 0, "bob"):
        assert host.read("/lock") == "bob"
    assert stat.S_IMODE(os.lstat(host.path("/lock")).st_mode) == 0o600


@pytest.mark.parametrize(
    ("kind", "said"),
    [("others may open it", "mode 0600"), ("a fifo", "mode 0600"), ("a link", "symbolic links")],
    ids=["a mode", "a fifo", "a link"],
)
def test_what_others_could_hold_is_no_lock(host, kind, said):
    if kind == "a fifo":
        os.mkfifo(host.path("/lock"), 0o600)
    elif kind == "a link":
        os.symlink("elsewhere", host.path("/lock"))
    else:
        with open(host.path("/lock"), "w"):
            os.chmod(host.path("/lock"), 0o644)
    with pytest.raises(OSError, match=said), host.lock("/lock", 0, "ann"):
        pass


def test_a_lock_that_was_taken_away_is_made_anew(host):
    with host.lock("/lock", 0, "ann"):
        os.unlink(host.path("/lock"))
        with host.lock("/lock", 0, "bob"):
            assert host.read("/lock") == "bob"


def test_work_apart_gives_what_it_gives(host):
    assert host.apart(lambda: {"own": os.getsid(0) == os.getpid()}) == {"own": True}
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        host.apart(lambda: 1 // 0)
    with pytest.raises(RuntimeError, match="without an answer"):
        host.apart(lambda: os.kill(os.getpid(), signal.SIGKILL))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_work_apart_outlives_its_caller_and_the_callers_group(host, number):
    def work():
        host.put("/begun", a_file())
        deadline = time.monotonic() + 20
        while not os.path.exists(host.path("/go")) and time.monotonic() < deadline:
            time.sleep(0.01)
        host.put("/done", a_file())

    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            host.apart(work)
        finally:
            os._exit(0)
    deadline = time.monotonic() + 20
    while not os.path.exists(host.path("/begun")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(child, number)
    if number == signal.SIGHUP:
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        host.put("/go", a_file())
    else:
        os.waitpid(child, 0)
        host.put("/go", a_file())
    while not os.path.exists(host.path("/done")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.path.exists(host.path("/done"))
    if number == signal.SIGHUP:
        assert os.waitpid(child, 0)[1] == 0


def test_write_keeps_the_file_and_needs_it(host, tmp_path):
    (tmp_path / "file").write_text("text\n")
    before = os.stat(str(tmp_path / "file")).st_ino
    host.write("/file", "TE")
    assert host.read("/file") == "TExt\n"
    assert os.stat(str(tmp_path / "file")).st_ino == before
    with pytest.raises(OSError, match="No such file"):
        host.write("/none", "1\n")
    assert not host.exists("/none")
