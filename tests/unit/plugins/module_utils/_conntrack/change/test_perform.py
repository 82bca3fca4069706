# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Changes that are to be confirmed, and steps that are neither files nor values."""

import os
import shutil
import subprocess
import sys

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change import perform, rollback, transaction
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.perform import Found, Order, Work
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.request import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.writes import Write, there
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.history import LOCK, history
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import Kept
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.journal import watch
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.journal.heads import HOME
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.journal.record import Step
from ansible_collections.headroom.netfilter.tests.unit.changes import AGAIN, OTHER, OTHER_TEXT, Machine
from ansible_collections.headroom.netfilter.tests.unit.fakes import Watching

NEW = "/etc/new/folder/file"
TURN, THING = Watching.TURN, Watching.THING


class WatchedMachine(Machine):
    def __init__(self, place):
        super().__init__(place)
        self.write(THING, "off")
        self.write("/run/systemd/system/x", "")
        self.keep()

    def host(self, **options):
        return Watching("debian12", self.root, **options)

    def state(self):
        return super().state(), self.text(THING)


@pytest.fixture
def machine(memory):
    return WatchedMachine(memory)


def look(host, prove=dict):
    uid, gid = host.owner()
    wanted = {OTHER: "# ours\n", NEW: "new\n"}
    writes = [
        Write(path, there(host, path), Kept("file", text.encode(), "", 0o644, uid, gid))
        for path, text in wanted.items()
    ]
    writes = [one for one in writes if one.before.content != one.after.content]
    turned = host.read(THING) == "on"
    steps = [] if turned else [Step("commands", "the thing", [[TURN, "off"]], [[TURN, "on"]])]
    return Found(Work(writes, [], steps), {"note": "said"}, prove)


def change(host, name="first", seconds=60, prove=dict, check=False):
    order = Order(name, "ann@control", "a test", confirm_seconds=seconds)
    return perform.run(host, order, lambda: look(host, prove), check)


def confirm(host, name="first", check=False):
    return perform.confirm(host, name, 1, "ann@control", check)


def states(machine):
    return {one["id"]: one["state"] for one in history(machine.host())["changes"]}


def refused(work, *arguments, **options):
    with pytest.raises(ChangeError) as caught:
        work(*arguments, **options)
    return caught.value


def test_made_and_left_to_be_confirmed(machine):
    answer = change(machine.host())
    assert answer == {"changed": True, "id": "first", "state": "unconfirmed", "note": "said"}
    assert (machine.text(OTHER), machine.text(NEW), machine.text(THING)) == ("# ours\n", "new\n", "on")
    assert states(machine) == {"first": "unconfirmed"}
    assert (machine.host().is_timed(), machine.host().boots_into()) == (True, True)
    timer = machine.text("/etc/systemd/system/headroom-netfilter-undo-first.timer")
    assert "OnActiveSec=60\n" in timer


def test_confirmed_it_stays_and_nothing_of_the_watch_is_left(machine):
    change(machine.host())
    answer = confirm(machine.host())
    assert answer == {"changed": True, "id": "first", "state": "kept", "note": "said"}
    assert states(machine) == {"first": "kept"}
    assert (machine.host().is_timed(), machine.host().boots_into()) == (False, False)
    assert not machine.host().exists("/etc/systemd/system/headroom-netfilter-undo-first.timer")
    assert watch.PROGRAM not in os.listdir(machine.root + HOME + "/first")
    made = machine.state()
    # One that sleeps may come to its end all the same.
    assert perform.overdue(machine.host(), "first", []) == 0
    assert machine.state() == made
    assert confirm(machine.host()) == dict(answer, changed=False)
    # The same run again, over a connection that was lost, hears the same.
    assert change(machine.host())["state"] == "kept"


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_not_confirmed_in_time_it_is_undone(machine, times):
    before = machine.state()
    change(machine.host())
    for _time in range(times):
        assert perform.overdue(machine.host(), "first", []) == 0
    assert machine.state() == before
    assert states(machine) == {"first": "undone"}
    assert (machine.host().is_timed(), machine.host().boots_into()) == (False, False)
    error = refused(confirm, machine.host())
    assert str(error).startswith("confirm: first is undone, not unconfirmed: it was not confirmed in time")


def test_a_proof_that_fails_leaves_nothing_of_the_watch(machine):
    before = machine.state()

    def prove():
        raise ChangeError("not as planned")

    error = refused(change, machine.host(), prove=prove)
    assert error.told["state"] == "undone"
    assert machine.state() == before
    assert not machine.host().is_timed()


def test_nothing_to_do_needs_no_confirmation(machine):
    change(machine.host())
    confirm(machine.host())
    host = machine.host()
    assert change(host, "second") == {"changed": False, "id": "second", "state": "none", "note": "said"}
    assert host.calls == []


def test_check_mode_writes_nothing(machine):
    whole = machine.everything()
    assert change(machine.host(), check=True) == {"changed": True, "id": "first", "state": "none", "note": "said"}
    assert machine.everything() == whole
    change(machine.host())
    whole = machine.everything()
    assert confirm(machine.host(), check=True)["changed"] is True
    machine.write(LOCK, "")
    assert states(machine) == {"first": "unconfirmed"}


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
def test_while_one_is_unconfirmed_no_other_is_made(machine, check):
    change(machine.host())
    machine.write(THING, "off")
    made = machine.state()
    for work in (
        lambda: change(machine.host(), "second", check=check),
        lambda: transaction.run(machine.host(), read(dict(AGAIN, lines=[])), check),
    ):
        assert "first of ann@control is still to be confirmed" in str(refused(work))
    assert machine.state() == made


def test_it_can_be_taken_back_by_hand_before_the_time_is_over(machine):
    before = machine.state()
    change(machine.host())
    answer = rollback.run(machine.host(), None, 1, "bob")
    assert (answer["changed"], answer["undone"], answer["not_restored"]) == (True, ["first"], [])
    assert machine.state() == before
    assert not machine.host().is_timed()


def test_a_kept_one_is_taken_back_and_had_again_with_its_steps(machine):
    before = machine.state()
    change(machine.host(), seconds=0)
    made = machine.state()
    back = rollback.run(machine.host(), None, 1, "bob")
    assert "the thing" in back["restored"]
    assert machine.state() == before
    assert rollback.run(machine.host(), None, 1, "bob")["changed"] is False
    again = rollback.run(machine.host(), back["id"], 1, "bob")
    assert (again["changed"], machine.state()) == (True, made)
    rollback.run(machine.host(), "first", 1, "bob")
    assert machine.state() == before
    assert rollback.run(machine.host(), "first", 1, "bob")["changed"] is False


def test_a_step_that_fails_has_all_of_it_undone_and_says_why(machine):
    before = machine.state()
    host = machine.host()
    step = Step("commands", "the thing", [[TURN, "off"]], [[TURN, "on"], [TURN, "fail"]])
    found = Found(look(host).work._replace(steps=[step]), {})
    error = refused(perform.run, host, Order("first", "", "a test", confirm_seconds=60), lambda: found)
    assert str(error) == "the thing: turn: exit code 1: it sticks; what had been changed is again what it was before"
    assert machine.state() == before


def test_a_step_that_cannot_be_undone_is_told_and_tried_again(machine):
    before = machine.state()
    host = machine.host()
    step = Step("commands", "the thing", [[TURN, "off"], [TURN, "fail"]], [[TURN, "on"]])
    found = Found(look(host).work._replace(steps=[step]), {})
    perform.run(host, Order("first", "", "a test", confirm_seconds=60), lambda: found)
    assert perform.overdue(machine.host(), "first", []) == 1
    # What could be given back is; the rest is tried again by the timer, which stays.
    assert machine.text(OTHER) == OTHER_TEXT
    assert states(machine) == {"first": "unconfirmed"}
    assert machine.host().is_timed()
    Watching._turn, kept = lambda self, how: "", Watching._turn
    try:
        assert perform.overdue(machine.host(), "first", []) == 0
    finally:
        Watching._turn = kept
    assert machine.state()[0] == before[0]


def test_where_no_init_is_known_nothing_can_be_left_to_be_confirmed(machine):
    shutil.rmtree(machine.root + "/run/systemd")
    whole = machine.everything()
    for check in (True, False):
        error = refused(change, machine.host(), check=check)
        assert "confirm_seconds: nothing on this host is known that would take the change back" in str(error)
    assert machine.everything() == whole
    assert change(machine.host(), seconds=0)["state"] == "kept"


@pytest.mark.parametrize(
    ("setup", "script"),
    [
        (["/run/openrc/x", "/etc/runlevels/boot/x"], "#!/sbin/openrc-run"),
        (["/etc/rcS.d/x", "/etc/inittab", "/usr/sbin/update-rc.d"], "#!/bin/sh"),
    ],
    ids=["OpenRC", "Debian's init"],
)
def test_without_systemd_it_sleeps_by_itself_and_the_init_starts_it(machine, setup, script):
    shutil.rmtree(machine.root + "/run/systemd")
    for path in setup:
        machine.write(path, "", 0o755)
    before = machine.state()
    host = machine.host()
    change(host)
    assert host.ran[-2][-3:] == [HOME + "/first/undo.pyz", "wait", "60"]
    assert machine.text("/etc/init.d/headroom-netfilter-undo").startswith(script)
    assert perform.overdue(machine.host(), "first", []) == 0
    assert machine.state() == before


def ends(work, host):
    child = os.fork()
    if child == 0:
        try:
            work(host)
        except ChangeError:
            pass
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def calls(machine, work):
    host = machine.host()
    work(host)
    return host.calls


def overdue(host):
    perform.overdue(host, "first", [])


def without_units(state):
    """A power cut in the midst of taking them away may leave one that nothing starts."""
    (files, values), thing = state
    return ({path: what for path, what in files.items() if not path.startswith("/etc/systemd")}, values), thing


def boot(machine):
    shutil.rmtree(machine.root + "/run/timers", ignore_errors=True)
    host = machine.host()
    if host.boots_into() and host.exists(HOME + "/first/" + watch.PROGRAM):
        overdue(host)


def time_passes(machine):
    host = machine.host()
    if host.is_timed() and host.exists(HOME + "/first/" + watch.PROGRAM):
        overdue(host)


@pytest.mark.on_one_python
@pytest.mark.parametrize(("later", "first"), [(time_passes, 1), (boot, 2)], ids=["time passes", "boot"])
@pytest.mark.parametrize("verb", ["change", "undo"])
def test_killed_at_any_call_the_host_is_as_it_was_by_itself(machine, verb, later, first):
    before = machine.state()
    work = change if verb == "change" else overdue
    if verb == "undo":
        change(machine.host())
        machine.pristine += "-changed"
        machine.keep()
    all_calls = calls(machine, work)
    assert len(all_calls) > 20
    for nth in range(first, len(all_calls) + 1, 2):
        machine.renew()
        assert ends(work, machine.host(nth=nth)), nth
        begun = machine.state() != before
        later(machine)
        if states(machine).get("first") == "unfinished":
            # The watch did not stand yet, and so nothing but the watch itself was made.
            assert not begun or machine.state()[1] == before[1]
            rollback.run(machine.host(), None, 1, "")
        assert without_units(machine.state()) == before, all_calls[nth - 1]
        if later is time_passes:
            assert machine.state() == before, all_calls[nth - 1]


@pytest.mark.on_one_python
@pytest.mark.parametrize("later", [time_passes, boot])
def test_a_confirmation_that_is_killed_is_wholly_so_or_not(machine, later):
    before = machine.state()
    change(machine.host())
    machine.pristine += "-changed"
    machine.keep()
    all_calls = calls(machine, confirm)
    made = machine.state()
    found = set()
    for nth in range(1, len(all_calls) + 1):
        machine.renew()
        assert ends(confirm, machine.host(nth=nth)), nth
        later(machine)
        later(machine)
        assert without_units(machine.state()) in (before, made), all_calls[nth - 1]
        if later is time_passes:
            assert machine.state() in (before, made), all_calls[nth - 1]
        found.add(states(machine)["first"])
    assert found == {"kept", "undone"}


def test_units_that_a_power_cut_has_left_go_with_the_next_change(machine):
    wanted = "/etc/systemd/system/sysinit.target.wants/headroom-netfilter-undo-old.service"
    machine.write("/etc/systemd/system/headroom-netfilter-undo-old.service", "")
    machine.write(wanted, "")
    change(machine.host())
    assert not machine.host().exists(wanted)
    assert not machine.host().exists("/etc/systemd/system/headroom-netfilter-undo-old.service")
    assert machine.host().is_timed()


def test_each_change_has_units_of_its_own(machine):
    """A timer remembers when the unit of that name ran last."""
    found = set()
    for name in ("first", "second"):
        change(machine.host(), name)
        found |= {unit for unit in machine.host().list("/etc/systemd/system") if unit.endswith(".service")}
        perform.overdue(machine.host(), name, [])
    assert found == {"headroom-netfilter-undo-first.service", "headroom-netfilter-undo-second.service"}


@pytest.mark.on_one_python
def test_the_program_brings_all_that_it_needs(tmp_path):
    place = tmp_path / "undo.pyz"
    place.write_bytes(watch.program("first"))
    done = subprocess.run(
        [sys.executable, "-I", "-B", str(place), "check"],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
