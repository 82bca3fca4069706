# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Changes taken back: the last, one and all that follow it, all of them; and what others have changed since."""

import errno
import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change import rollback
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.request import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.transaction import run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.history import history
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.journal.heads import HOME
from ansible_collections.headroom.netfilter.tests.unit.changes import (
    MODPROBE,
    OTHER,
    OTHER_TEXT,
    REQUEST,
    SYSCTL,
    Machine,
)
from ansible_collections.headroom.netfilter.tests.unit.fakes import MAX, MAX_KEY, UDP


@pytest.fixture
def machine(memory):
    return Machine(memory)


def back(machine, to=None, check=False, host=None):
    return rollback.run(host or machine.host(), to, 60, "bob", check)


def change(machine, name, limit, **more):
    content = "net.netfilter.nf_conntrack_max = {0}\n".format(limit)
    request = {"id": name, "files": [{"path": SYSCTL, "content": content}], "max": limit, "shrink": True}
    return run(machine.host(), read(dict(request, **more)))


def states(machine):
    return {one["id"]: one["state"] for one in history(machine.host())["changes"]}


@pytest.mark.parametrize("to", [None, "first"], ids=["the last", "first"])
def test_everything_is_again_as_it_was(machine, to):
    os.symlink("/dev/null", machine.host().path(SYSCTL))
    before = machine.state()
    request = dict(REQUEST, takeover=True)
    run(machine.host(), read(request))
    answer = back(machine, to)
    assert machine.state() == before
    assert (answer["changed"], answer["undone"], answer["not_restored"]) == (True, ["first"], [])
    assert SYSCTL in answer["restored"]
    assert MAX_KEY + " is 8192" in answer["restored"]
    assert states(machine) == {"first": "undone", answer["id"]: "kept"}


def test_the_second_time_nothing_is_left(machine):
    run(machine.host(), read(REQUEST))
    back(machine)
    whole = machine.everything()
    for to in (None, "first"):
        for check in (True, False):
            answer = back(machine, to, check)
            assert (answer["changed"], answer["id"], answer["undone"], answer["not_restored"]) == (False, None, [], [])
    assert {path: what for path, what in machine.everything()[0].items() if "/run/" not in path} == {
        path: what for path, what in whole[0].items() if "/run/" not in path
    }


def test_check_mode_foretells_it_and_writes_nothing(machine):
    run(machine.host(), read(REQUEST))
    whole = machine.everything()
    checked = back(machine, check=True)
    assert machine.everything() == whole
    made = back(machine)
    for name in ("changed", "undone", "diff", "not_restored"):
        assert checked[name] == made[name]
    shown = {one["before_header"]: one for one in checked["diff"]}
    assert (shown[SYSCTL]["after"], shown[OTHER]["after"]) == ("", OTHER_TEXT)
    assert shown["live kernel"]["after"].splitlines()[1] == MAX_KEY + " = 8192"


def test_a_change_and_all_that_follow_it(machine):
    change(machine, "a", 10000)
    between = machine.state()
    change(machine, "b", 20000)
    change(machine, "c", 30000)
    answer = back(machine, "b")
    assert answer["undone"] == ["c", "b"]
    assert machine.state() == between
    assert [states(machine)[name] for name in "abc"] == ["kept", "undone", "undone"]
    # The last one is taken back already; an earlier one is to be named.
    assert back(machine)["changed"] is False
    assert back(machine, "a")["undone"] == [answer["id"], "a"]


def test_what_was_taken_back_can_be_had_again(machine):
    run(machine.host(), read(REQUEST))
    made = machine.state()
    first = back(machine)["id"]
    again = back(machine, first)
    assert (machine.state(), again["undone"]) == (made, [first])
    assert states(machine) == {"first": "kept", first: "undone", again["id"]: "kept"}


def test_no_such_change(machine):
    change(machine, "a", 10000)
    with pytest.raises(ChangeError) as caught:
        back(machine, "b")
    assert str(caught.value) == "to: b: there is no such change; expected first, a"


def test_where_nothing_was_changed_nothing_is_to_be_taken_back(machine):
    whole = machine.everything()
    assert back(machine)["changed"] is False
    assert back(machine, "first")["changed"] is False
    assert machine.everything() == whole


def test_what_others_have_changed_since_is_left_and_named(machine):
    run(machine.host(), read(REQUEST))
    machine.write(MODPROBE, "# theirs\n")
    machine.host().write(UDP, "77")
    answer = back(machine)
    assert answer["changed"] is True
    assert answer["not_restored"] == [
        MODPROBE + ": changed by others since; look at it, and make of it what it is to be",
        "net.netfilter.nf_conntrack_udp_timeout is 77, no more the 60 that was set: changed by others since",
    ]
    assert (machine.text(MODPROBE), machine.host().value(UDP)) == ("# theirs\n", 77)
    assert (machine.text(OTHER), machine.host().value(MAX)) == (OTHER_TEXT, 8192)


def test_the_limit_stays_as_high_as_flows_need_it(machine):
    run(machine.host(), read(REQUEST))
    machine.write("/proc/sys/net/netfilter/nf_conntrack_count", "9000\n")
    checked = back(machine, check=True)
    answer = back(machine)
    assert answer["not_restored"] == checked["not_restored"] == [MAX_KEY + " is 18000: 9000 flows are in use"]
    assert answer["diff"] == checked["diff"]
    assert machine.host().value(MAX) == 18000


def test_a_rollback_that_fails_is_undone(machine):
    run(machine.host(), read(REQUEST))
    made = machine.state()
    host = machine.host()
    back(machine, host=host)
    nth = next(number for number, call in enumerate(host.calls, 1) if "unlink" in call and "99-conntrack" in call)
    back(machine, next(name for name, state in states(machine).items() if name != "first"))
    assert machine.state() == made
    with pytest.raises(ChangeError) as caught:
        back(machine, host=machine.host(nth=nth, number=errno.EPERM), to="first")
    assert "lsattr tells" in str(caught.value)
    assert caught.value.told["state"] == "undone"
    assert machine.state() == made


def test_a_hold_keeps_a_host_from_being_rolled_back(machine):
    run(machine.host(), read(REQUEST))
    machine.write("/etc/headroom/netfilter.hold", "")
    made = machine.state()
    for check in (True, False):
        with pytest.raises(ChangeError) as caught:
            back(machine, check=check)
        assert "netfilter.hold keeps this host from being changed: no reason is given" in str(caught.value)
    assert machine.state() == made


def test_the_first_takes_back_what_is_no_more_kept_by_itself(machine):
    before = machine.state()
    run(machine.host(), read(dict(REQUEST, lines=[])))
    change(machine, "b", 20000, lines=REQUEST["lines"])
    for number in range(9):
        change(machine, "c{0}".format(number), 30000 + number)
    # Five, and the first.
    assert list(states(machine)) == ["first", "c4", "c5", "c6", "c7", "c8"]
    assert sorted(machine.kept()) == sorted(states(machine))
    answer = back(machine, "first")
    assert answer["not_restored"] == []
    assert machine.state() == before


def test_folders_that_others_use_by_now_stay(machine):
    run(machine.host(), read(REQUEST))
    machine.write("/etc/udev/rules.d/10-theirs.rules", "")
    back(machine)
    assert os.listdir(machine.host().path("/etc/udev/rules.d")) == ["10-theirs.rules"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"version": 3}', "its form is version 3, and this collection knows 2; use the collection that has made it"),
        ("{", "it is damaged"),
        ('{"version": 1}', "it is damaged"),
        ("[" * 100000, "it is damaged"),
    ],
    ids=["later", "no JSON", "parts are missing", "deep"],
)
def test_a_journal_that_cannot_be_read_is_refused_by_name(machine, text, said):
    change(machine, "a", 10000)
    machine.write(HOME + "/a/journal.json", text)
    made = machine.state()
    for work in (lambda: back(machine), lambda: change(machine, "b", 20000)):
        with pytest.raises(ChangeError) as caught:
            work()
        assert HOME + "/a: this change cannot be read: " + said in str(caught.value)
    assert machine.state() == made
    assert history(machine.host())["last"] == {"id": "a", "state": "kept", "when": None, "who": ""}


def test_bytes_that_are_not_what_was_stored_are_not_given_back(machine):
    run(machine.host(), read(REQUEST))
    machine.write(HOME + "/first/1", "other\n")
    answer = back(machine)
    assert answer["not_restored"] == [MODPROBE + ": what was there cannot be read from the journal"]
    assert machine.text(MODPROBE) == REQUEST["files"][1]["content"]
    assert machine.text(OTHER) == OTHER_TEXT
