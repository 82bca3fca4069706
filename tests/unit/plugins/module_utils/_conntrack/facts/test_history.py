# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What is told of the changes of a host."""

import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.request import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.transaction import run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.history import HOLD, LOCK, history
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.journal.heads import HOME
from ansible_collections.headroom.netfilter.tests.unit.changes import REQUEST, Machine

NONE = {"last": None, "unfinished": None, "changes": [], "hold": None}


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize("subset", ["min", "table", "all"])
def test_it_is_told_whatever_is_asked_for(machine, subset):
    assert gather(machine.host(), [subset])["history"] == NONE


def test_a_change(machine):
    host = machine.host()
    host.now = lambda: "2026-11-25T10:15:00Z"
    run(host, read(REQUEST))
    told = {"id": "first", "state": "kept", "when": "2026-11-25T10:15:00Z", "who": "ann@control"}
    assert history(machine.host()) == {"last": told, "unfinished": None, "changes": [told], "hold": None}


def test_one_that_is_not_over(machine):
    run(machine.host(), read(REQUEST))
    os.unlink(machine.host().path(HOME + "/first/result.json"))
    found = history(machine.host())
    assert (found["unfinished"], found["last"]["state"]) == ("first", "unfinished")
    # One that never began is none, and neither is what is no change.
    os.unlink(machine.host().path(HOME + "/first/begun"))
    machine.write(HOME + "/.hidden/begun", "")
    assert history(machine.host()) == NONE


def test_one_that_somebody_is_at_work_at(machine):
    run(machine.host(), read(REQUEST))
    os.unlink(machine.host().path(HOME + "/first/result.json"))
    inode = os.stat(machine.host().path(LOCK))
    place = "{0:02x}:{1:02x}:{2}".format(os.major(inode.st_dev), os.minor(inode.st_dev), inode.st_ino)
    machine.write("/proc/locks", "1: FLOCK  ADVISORY  WRITE 77 {0} 0 EOF\n".format(place))
    found = history(machine.host())
    assert (found["unfinished"], found["last"]["state"]) == (None, "running")


def test_the_kernel_lists_a_lock_that_is_held(tmp_path):
    host, path = WritableHost(), str(tmp_path / "lock")
    assert not host.is_locked(path)
    with host.lock(path, 0, "somebody"):
        if not os.path.exists("/proc/locks"):
            pytest.skip("this kernel lists none")
        assert host.is_locked(path)
    assert not host.is_locked(path)


@pytest.mark.parametrize(
    ("text", "said"), [("frozen\n", "frozen"), ("", "no reason is given"), ("\x1b[2J", "\\x1b[2J")], ids=repr
)
def test_a_hold(machine, text, said):
    machine.write(HOLD, text)
    assert gather(machine.host(), ["min"])["history"]["hold"] == said


def test_a_hold_of_somebody_else_holds_nothing(machine):
    class Shared(type(machine.host())):
        def exposed(self, path):
            return "everybody may write {0}".format(path)

    machine.write(HOLD, "mine\n")
    assert history(Shared("debian12", machine.root)) == NONE
