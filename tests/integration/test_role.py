# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The role under keywords, strategies, handlers and lost connections: what is run on hosts, which answer what was prepared for them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import HERE
from test_hostile_answers import FACTS, NO_HISTORY, UNDONE, Fleet, Ran

SETTLED = {**FACTS, "history": NO_HISTORY}
GOOD = {"conntrack_facts": {"changed": False, "ansible_facts": {"conntrack": SETTLED}}}
READ, CHANGED = ["conntrack_facts"], ["conntrack_facts", "conntrack_settings", "conntrack_expire"]
# Of a host whose limit nobody could hold.
REFUSED = {"conntrack_max": 2**30}
ROLE: dict[str, Any] = {"ansible.builtin.import_role": {"name": "headroom.netfilter.conntrack"}}
FAILED = {"conntrack_settings": UNDONE}


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Fleet:
    return Fleet(tmp_path, request.config.getoption("--ansible-playbook"))


def play(fleet: Fleet, tasks: list[Any], *arguments: str, **keywords: Any) -> Ran:
    playbook = fleet.place / "role.json"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks, **keywords}]))
    return fleet.play(playbook, *arguments)


@pytest.fixture
def two(fleet: Fleet) -> Fleet:
    fleet.add("first", GOOD)
    fleet.add("second", GOOD)
    return fleet


@pytest.mark.parametrize("arguments", [(), ("--check",)], ids=["run", "check"])
@pytest.mark.parametrize("keyword", [{}, {"check_mode": True}, {"check_mode": False}], ids=str)
def test_check_mode_is_the_tasks_own(two: Fleet, arguments: tuple[str, ...], keyword: dict[str, bool]) -> None:
    """Fault 11."""
    tasks = [{**ROLE, **keyword}, {"ansible.builtin.debug": {"msg": "SEEN {{ conntrack_result.checked }}"}}]
    ran = play(two, tasks, *arguments)
    assert ran.code == 0, ran.output
    assert ran.output.count(f"SEEN {keyword.get('check_mode', bool(arguments))}") == 2
    assert two.ran("first") == CHANGED


@pytest.mark.parametrize(
    "keywords", [{}, {"ignore_errors": True}, {"strategy": "free"}, {"any_errors_fatal": True}], ids=str
)
def test_a_refused_plan_is_not_written(two: Fleet, keywords: dict[str, Any]) -> None:
    """Fault 12."""
    ran = play(two, [ROLE], "-e", json.dumps(REFUSED), **keywords)
    assert "conntrack_max: 1073741824 entries take" in ran.output
    assert (two.ran("first"), two.ran("second")) == (READ, READ)


@pytest.mark.parametrize("topic", ["conntrack reload", "firewall restarted"])
@pytest.mark.parametrize("wrong", [False, True], ids=["good", "refused"])
def test_handlers_read_plan_and_refuse(two: Fleet, topic: str, wrong: bool) -> None:
    """Fault 13."""
    notify = {
        "ansible.builtin.debug": {"msg": "restarted"},
        "changed_when": True,
        "notify": f"headroom.netfilter {topic}",
    }
    # Brings the handlers, and only reads.
    role = {"ansible.builtin.import_role": {"name": "headroom.netfilter.conntrack", "tasks_from": "audit"}}
    ran = play(two, [role, notify], "-e", json.dumps(REFUSED if wrong else {}))
    assert (ran.code != 0) is wrong, ran.output
    assert two.ran("first") == READ + (READ if wrong else CHANGED)


def test_nothing_of_a_plan_outlives_its_play(fleet: Fleet) -> None:
    """Fault 14."""
    fleet.add("host", GOOD)
    ended = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "ansible.builtin.import_role": {"name": "headroom.netfilter.conntrack", "tasks_from": "audit"},
                "vars": {"conntrack_timeout_profile": "edge"},
            }
        ],
    }
    shown = "SEEN {{ conntrack_result.plan.timeouts.udp }} {{ query('varnames', '^__conntrack_plan') | length }}"
    role = {
        **ended,
        "tasks": [{**ROLE, "vars": {"conntrack_timeouts": {"udp": 41}}}, {"ansible.builtin.debug": {"msg": shown}}],
    }
    playbook = fleet.place / "plays.json"
    playbook.write_text(json.dumps([ended, role]))
    ran = fleet.play(playbook)
    assert "SEEN 41 0" in ran.output, ran.output


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_a_host_that_fails_leaves_the_others_whole(fleet: Fleet, strategy: str) -> None:
    """Fault 15."""
    fleet.add("bad", {**GOOD, **FAILED})
    fleet.add("good", GOOD)
    ran = play(fleet, [ROLE], any_errors_fatal=True, strategy=strategy)
    assert "not as planned" in ran.failed()["bad"]
    assert fleet.ran("good") == CHANGED
    assert "rescued=1" not in ran.output


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_a_first_host_that_is_skipped(two: Fleet, strategy: str) -> None:
    """Fault 19."""
    shown = "{{ ansible_play_hosts_all | map('extract', hostvars) | headroom.netfilter.conntrack_table }}"
    table = {"ansible.builtin.debug": {"msg": shown}, "when": "inventory_hostname == 'second'"}
    ran = play(two, [{**ROLE, "when": "inventory_hostname != 'first'"}, table], strategy=strategy)
    assert ran.code == 0, ran.output
    assert (two.ran("first"), two.ran("second")) == ([], CHANGED)
    assert '"second",' in ran.output
    assert '"first' not in ran.output


def test_the_empty_string_is_unset_for_the_role_too(two: Fleet) -> None:
    """Fault 20."""
    given = [
        f"{name}=" for name in ("conntrack_max", "conntrack_shrink", "conntrack_timeout_profile", "conntrack_timeouts")
    ]
    role = {"ansible.builtin.include_role": {"name": "headroom.netfilter.conntrack"}}
    told = {"ansible.builtin.debug": {"msg": "SEEN {{ conntrack_result.plan.reasons.max }}"}}
    ran = play(two, [role, told], *(word for one in given for word in ("-e", one)))
    assert ran.code == 0, ran.output
    assert "SEEN 8000 flows in use x 2" in ran.output or "SEEN 2 percent of" in ran.output


def test_a_variable_named_conntrack_stays_its_owners(two: Fleet) -> None:
    """Fault 20."""
    ran = play(two, [ROLE, {"ansible.builtin.debug": {"msg": "SEEN {{ conntrack }}"}}], vars={"conntrack": "mine"})
    assert ran.output.count("SEEN mine") == 2


def test_what_is_undefined_is_named_with_its_host(two: Fleet) -> None:
    """Fault 23."""
    there = two.place / "host_vars"
    there.mkdir()
    (there / "second.json").write_text(json.dumps({"conntrack_expected_connections": "{{ nothing }}"}))
    ran = two.play("headroom.netfilter.tune")
    said = ran.failed()["first"]
    assert "conntrack_expected_connections: " in said
    assert "nothing" in said
    assert "(second)" in said
    assert (two.ran("first"), two.ran("second")) == ([], [])


def test_a_table_of_what_failed_is_shown_too(fleet: Fleet) -> None:
    fleet.add("bad", {**GOOD, **FAILED})
    ran = fleet.play("headroom.netfilter.tune")
    assert ran.code != 0
    for line in (
        "FAILED: not as planned after the change",
        "put back: /etc/sysctl.conf",
        "NOT PUT BACK: hashsize is 65536",
    ):
        assert line in ran.output


def test_relieve_raises_first_and_shows_what_it_found_before_it_failed(fleet: Fleet) -> None:
    """Fault 21."""
    fleet.add("bad", {**GOOD, **FAILED})
    ran = fleet.play("headroom.netfilter.relieve", "-e", "relieve_confirm=true")
    assert ran.code != 0
    assert fleet.ran("bad") == ["conntrack_facts", "conntrack_census_info", "conntrack_settings"]
    assert "limit stays: FAILED: not as planned after the change" in ran.output
    assert "192.0.2.1" in ran.output


def test_relieve_never_lowers(fleet: Fleet) -> None:
    """Fault 21."""
    large = copy.deepcopy(SETTLED)
    large["table"].update(max=524288, buckets=524288, expect_max=8192)
    fleet.add("host", {"conntrack_facts": {"changed": False, "ansible_facts": {"conntrack": large}}})
    ran = fleet.play("headroom.netfilter.relieve", "-e", "relieve_confirm=true", "-e", "conntrack_shrink=true")
    assert ran.code == 0, ran.output
    assert "conntrack_settings" not in fleet.ran("host")
    assert "conntrack_expire" in fleet.ran("host")


def test_a_lost_answer_is_asked_for_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.add("host", GOOD)
    lost = fleet.place / "lost"
    lost.touch()
    for name, value in (("LOST", lost), ("LOSE", 1), ("ANSIBLE_CONNECTION_PLUGINS", HERE / "connections")):
        monkeypatch.setenv(name, str(value))
    ran = play(fleet, [ROLE], "-e", "ansible_connection=losing")
    assert ran.code == 0, ran.output
    assert fleet.ran("host") == ["conntrack_facts", "conntrack_settings", "conntrack_settings", "conntrack_expire"]


@pytest.mark.parametrize("arguments", [(), ("--check",)], ids=["run", "check"])
def test_rollback(two: Fleet, arguments: tuple[str, ...]) -> None:
    ran = two.play("headroom.netfilter.rollback", "-e", "rollback_to=first", "--diff", *arguments)
    assert ran.code == 0, ran.output
    verb = "to be undone" if arguments else "undone"
    assert '"first, second (2 hosts)"' in ran.output
    assert f'"{verb}: 20261125T101500Z-0a1b2c"' in ran.output
    assert '"NOT PUT BACK: hashsize is 65536, no more the 8192 that was set: changed by others since"' in ran.output
    assert two.ran("first") == ["conntrack_rollback"]


def test_absent(fleet: Fleet) -> None:
    """A host that was never changed is only read."""
    last = {"id": "20261125T101500Z-0a1b2c", "state": "kept", "when": "2026-11-25T10:15:01Z", "who": "ann"}
    history = {**NO_HISTORY, "last": last, "changes": [last]}
    fleet.add("first", {**GOOD, "conntrack_facts": {"ansible_facts": {"conntrack": {**FACTS, "history": history}}}})
    fleet.add("second", {**GOOD, "conntrack_facts": {"ansible_facts": {"conntrack": SETTLED}}})
    ran = fleet.play("headroom.netfilter.tune", "-e", "conntrack_state=absent")
    assert ran.code == 0, ran.output
    assert fleet.ran("first") == ["conntrack_facts", "conntrack_rollback"]
    assert fleet.ran("second") == ["conntrack_facts"]
    assert '"undone: 20261125T101500Z-0a1b2c"' in ran.output
