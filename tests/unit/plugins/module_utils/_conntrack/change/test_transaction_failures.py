# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A change that ends or fails at any call that changes the machine: the next one finds all of it, or nothing."""

import contextlib
import errno
import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change import rollback
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.request import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.transaction import run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.history import LOCK, history
from ansible_collections.headroom.netfilter.tests.unit.changes import AGAIN, REQUEST, Machine
from ansible_collections.headroom.netfilter.tests.unit.fakes import MAX, MAX_KEY, UDP

FAILING = dict(REQUEST, expected={"boot": {MAX_KEY: 7}})


@pytest.fixture
def machine(memory):
    made = Machine(memory)
    made.keep()
    return made


def dies(work, host):
    """Whether a process that does this work is killed on the way."""
    child = os.fork()
    if child == 0:
        try:
            work(host)
        except ChangeError:
            pass
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def change(host, request=None):
    return run(host, read(request or REQUEST))


def fail(host):
    return run(host, read(FAILING))


def take_back(host):
    return rollback.run(host, None, 60, "")


def settled(machine, before):
    """The next run: at most once it has to be planned anew, and then all is as it was."""
    made, error = attempt(machine.host(), dict(AGAIN, id="next", lines=[]))
    if error:
        assert error.told["stale"], str(error)
        assert machine.state() == before
        assert error.told["not_restored"] == []
        made = change(machine.host(), dict(AGAIN, id="then", lines=[]))
    return made


def attempt(host, request=None):
    """The answer, or why there is none."""
    try:
        return change(host, request), None
    except ChangeError as error:
        return None, error


def calls(machine, work):
    """How many calls it takes."""
    host = machine.host()
    with contextlib.suppress(ChangeError):
        work(host)
    machine.renew()
    return host.calls


def all_written(machine):
    """The call at which nothing is left but to note the result."""
    all_calls = calls(machine, change)
    return next(number for number, call in enumerate(all_calls, 1) if "result.json" in call)


@pytest.mark.on_one_python
@pytest.mark.parametrize(("work", "step"), [(change, 1), (fail, 2)], ids=["a change", "one that is undone"])
def test_killed_at_any_call_the_next_run_undoes_or_finds_it_done(machine, work, step):
    before = machine.state()
    all_calls = calls(machine, work)
    assert len(all_calls) > 60
    states = set()
    for nth in range(1, len(all_calls) + 2, step):
        machine.renew()
        assert dies(work, machine.host(nth=nth)) is (nth <= len(all_calls))
        told = history(machine.host())
        states.add(told["last"] and told["last"]["state"])
        done = settled(machine, before)
        assert done["facts"]["history"]["unfinished"] is None
        assert machine.host().value(MAX) == 100000
        leftovers = [path for path in machine.state()[0] if path.endswith(".headroom")]
        assert leftovers == [], all_calls[nth - 1 :][:1]
        assert take_back(machine.host())["changed"] is True
        assert machine.state()[1] == before[1]
    assert states == {None, "unfinished", "kept" if work is change else "undone"}


@pytest.mark.on_one_python
def test_a_rollback_that_is_killed_at_any_call_is_done_by_the_next(machine):
    before = machine.state()
    change(machine.host())
    machine.pristine += "-changed"
    machine.keep()
    all_calls = calls(machine, take_back)
    assert len(all_calls) > 30
    for nth in range(1, len(all_calls) + 1):
        machine.renew()
        assert dies(take_back, machine.host(nth=nth)), nth
        # The default is what was left unfinished: taking that back brings the change back.
        while machine.state() != before:
            assert rollback.run(machine.host(), "first", 60, "")["changed"] is True
        # At the last call all was given back, and it was not noted: it is done once more.
        rollback.run(machine.host(), "first", 60, "")
        assert machine.state() == before
        assert rollback.run(machine.host(), "first", 60, "")["changed"] is False
        assert history(machine.host())["unfinished"] is None


@pytest.mark.on_one_python
@pytest.mark.parametrize(
    ("number", "step"), [(errno.ENOSPC, 1), (errno.EROFS, 3), (errno.EPERM, 3)], ids=["ENOSPC", "EROFS", "EPERM"]
)
def test_an_error_at_any_call_leaves_nothing_half_written(machine, number, step):
    before = machine.state()
    all_calls = calls(machine, change)
    passed = []
    for nth in range(1, len(all_calls) + 1, step):
        machine.renew()
        _made, error = attempt(machine.host(nth=nth, number=number))
        if error:
            assert os.strerror(number) in str(error)
            assert machine.state() == before, all_calls[nth - 1]
            assert error.told.get("state") in (None, "undone")
        else:
            passed.append(all_calls[nth - 1].split(" ")[0])
        assert [path for path in machine.everything()[0] if path.endswith(".headroom")] == []
    # An attribute, which may be forbidden.
    assert set(passed) <= ({"setxattr"} if number == errno.EPERM else set())


@pytest.mark.on_one_python
def test_a_disk_that_fails_for_good_is_told_and_the_next_run_undoes(machine):
    before = machine.state()
    all_calls = calls(machine, change)
    states = []
    for nth in range(1, len(all_calls) + 1, 3):
        machine.renew()
        with pytest.raises(ChangeError) as caught:
            change(machine.host(nth=nth, number=errno.EROFS, for_good=True))
        told = caught.value.told
        states.append(told.get("state"))
        if told.get("state") == "unfinished":
            assert told["not_restored"]
            assert "not all could be put back" in str(caught.value)
        else:
            assert machine.state() == before
        settled(machine, before)
    assert set(states) == {None, "unfinished", "undone"}


def test_what_another_run_has_undone_is_told_to_whoever_asks_for_it_again_as_a_reason_to_plan_anew(machine):
    assert dies(change, machine.host(nth=60))
    with pytest.raises(ChangeError, match="left unfinished, and undone now"):
        change(machine.host(), AGAIN)
    change(machine.host(), AGAIN)
    with pytest.raises(ChangeError, match="left unfinished, and undone by a later run") as caught:
        change(machine.host())
    assert (caught.value.told["state"], caught.value.told["stale"]) == ("undone", True)


def test_what_cannot_be_undone_is_told_with_what_to_do(machine):
    assert dies(change, machine.host(nth=60))
    host = machine.host(nth=2, number=errno.EPERM, for_good=True)
    with pytest.raises(ChangeError) as caught:
        change(host, AGAIN)
    assert "first: this change was left unfinished and cannot be undone: restoring /etc/" in str(caught.value)
    assert "chattr -i" in str(caught.value)
    assert "take /var/lib/headroom/netfilter/first away" in str(caught.value)
    assert not caught.value.told.get("stale")


def test_the_file_system_and_the_path_are_named(machine):
    all_calls = calls(machine, change)
    machine.write("/proc/self/mountinfo", "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /etc ro - xfs /dev/b ro\n")
    nth = next(number for number, call in enumerate(all_calls, 1) if "sysctl.d/.99-conntrack" in call)
    with pytest.raises(ChangeError) as caught:
        change(machine.host(nth=nth, number=errno.EROFS))
    said = "writing /etc/sysctl.d/99-conntrack.conf failed: Read-only file system (file system /etc, xfs, read-only; remount"
    assert said in str(caught.value)


def test_what_others_have_changed_since_is_left_to_them(machine):
    assert dies(change, machine.host(nth=all_written(machine)))
    machine.write("/etc/modprobe.d/nf_conntrack.conf", "# theirs\n")
    with pytest.raises(ChangeError) as caught:
        change(machine.host(), AGAIN)
    assert caught.value.told["stale"]
    assert caught.value.told["not_restored"] == [
        "/etc/modprobe.d/nf_conntrack.conf: changed by others since; look at it, and make of it what it is to be"
    ]
    assert machine.text("/etc/modprobe.d/nf_conntrack.conf") == "# theirs\n"


def test_a_copy_of_the_disk_is_another_machine_whose_values_are_its_own(machine):
    assert dies(change, machine.host(nth=all_written(machine)))
    machine.write("/etc/machine-id", "4567\n")
    with pytest.raises(ChangeError) as caught:
        change(machine.host(), AGAIN)
    assert machine.host().value(MAX) == 100000
    assert MAX_KEY + ": it was another machine's" in caught.value.told["not_restored"]
    assert not os.path.exists(machine.host().path("/etc/sysctl.d/99-conntrack.conf"))


# Fault 2: the way back takes what a user would not be let ask for.


@pytest.mark.parametrize("seconds", [0, 2592000, 2**31 - 1], ids=["shown as 0", "thirty days", "the most there is"])
def test_any_timeout_is_given_back_as_it_was_shown(machine, seconds):
    machine.host().write(UDP, str(seconds))
    before = machine.state()
    with pytest.raises(ChangeError) as caught:
        fail(machine.host())
    assert caught.value.told["not_restored"] == []
    assert machine.state() == before


def test_with_more_flows_than_the_old_limit_all_else_is_given_back(machine):
    before = machine.state()

    class Crowded(type(machine.host())):
        def write(self, path, text):
            super().write(path, text)
            if path == MAX and int(text) == 100000:
                # They come as soon as they may.
                with open(self.path("/proc/sys/net/netfilter/nf_conntrack_count"), "w") as target:
                    target.write("20000\n")

    with pytest.raises(ChangeError) as caught:
        fail(Crowded("debian12", machine.root))
    (left,) = caught.value.told["not_restored"]
    # Room for as many again, and no flow is lost.
    assert left == MAX_KEY + " is 40000: 20000 flows are in use"
    after = machine.state()
    assert after[0] == before[0]
    assert after[1] == dict(before[1], **{MAX: "40000"})


def test_the_lock_ends_with_the_process(machine):
    assert dies(change, machine.host(nth=40))
    with machine.host().lock(LOCK, 0, "somebody"):
        pass


def test_while_one_is_at_work_another_waits_and_then_names_it(machine):
    with machine.host().lock(LOCK, 0, "ann@control, at work since noon"):
        with pytest.raises(ChangeError) as caught:
            change(machine.host(), dict(REQUEST, lock_seconds=0))
        assert "is on its way, of ann@control, at work since noon; waited 0 s" in str(caught.value)
    assert change(machine.host())["changed"] is True


@pytest.mark.parametrize("number", range(5))
def test_of_two_at_once_one_waits_and_all_of_one_is_there(machine, number):
    requests = [
        dict(AGAIN, lines=[], id=name, max=limit, expected={}, found={})
        for name, limit in (("left", 90000), ("right", 110000))
    ]
    for request in requests:
        request["files"] = [
            dict(file, content=file["content"] + "# {0}\n".format(request["id"])) for file in AGAIN["files"]
        ]
    children = []
    for request in requests:
        child = os.fork()
        if child == 0:
            try:
                change(machine.host(), dict(request, shrink=True))
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    limit = machine.host().value(MAX)
    (last,) = [request for request in requests if request["max"] == limit]
    assert all(machine.text(file["path"]) == file["content"] for file in last["files"])
    assert [one["state"] for one in history(machine.host())["changes"]] == ["kept", "kept"]
