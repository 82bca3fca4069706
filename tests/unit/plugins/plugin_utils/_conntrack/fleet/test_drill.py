# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Drills: what is asked for and refused, what is planned for a host, and what counts as moved."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet.drill import (
    EVENTS,
    Asked,
    firewalls,
    plan,
    read,
    verdict,
)
from ansible_collections.headroom.netfilter.tests.unit.examples import CONTAINER, NOT_LOADED, NOT_ROOT, TIMEOUTS, facts

ALL = Asked(True, True, True, True)
RUN = "20260101T120000Z-0123abcd"
FIREWALLD = {"services.nftables": None, "services.firewalld": {"active": True}}
NO_FIREWALL = {"services.nftables": {"active": False}}
FILE = {"sha256": "1a8d5d8e2f2b2c5c", "mode": "0644", "owner": "root", "group": "root", "ours": True}
SYSCTL = "/etc/sysctl.d/99-conntrack.conf"


# What is asked for


@pytest.mark.parametrize(
    ("variables", "connection", "asked"),
    [
        ({}, "ssh", Asked()),
        ({"drill_firewall": None, "drill_reload": "", "drill_nonsense": 7}, "ssh", Asked()),
        ({"drill_firewall": True, "drill_out_of_band": True}, "ssh", Asked(firewall=True, out_of_band=True)),
        ({"drill_reboot": "yes", "drill_out_of_band": "true"}, "ssh", Asked(reboot=True, out_of_band=True)),
        ({"drill_reboot": "no", "drill_reload": "false"}, "ssh", Asked()),
        ({"drill_firewall": True, "drill_reload": True}, "local", Asked(firewall=True, reload=True)),
        ({"drill_firewall": True}, "community.docker.docker", Asked(firewall=True)),
        # Nothing is done.
        ({"drill_id": RUN, "drill_reboot": True}, "ssh", Asked(reboot=True, id=RUN)),
    ],
    ids=repr,
)
def test_what_is_asked_for(variables, connection, asked):
    assert read(variables, connection) == asked


@pytest.mark.parametrize("name", ["drill_firewall", "drill_reload", "drill_reboot", "drill_out_of_band"])
@pytest.mark.parametrize("value", [1, 0, "perhaps", ["firewalld"], "firewalld", {}, 1.5], ids=repr)
def test_what_is_neither_true_nor_false_is_refused(name, value):
    with pytest.raises(PolicyError) as refused:
        read({name: value}, "local")
    assert refused.value.problems == ["{0}: {1!r} will not do: expected true or false".format(name, value)]


@pytest.mark.parametrize("value", [7, True, "../x", "-x", "a b", "a/b", "x" * 65, "drill.sh", "a\n", ["a"]], ids=repr)
def test_what_names_no_run_is_refused(value):
    with pytest.raises(PolicyError) as refused:
        read({"drill_id": value}, "local")
    (said,) = refused.value.problems
    assert said.startswith("drill_id: ")
    assert "will not do: expected what the run that is asked for has named itself" in said


def test_all_that_is_wrong_is_found_at_once():
    with pytest.raises(PolicyError) as refused:
        read({"drill_firewall": "x", "drill_reboot": "y"}, "ssh")
    assert [problem.split(":")[0] for problem in refused.value.problems] == ["drill_firewall", "drill_reboot"]


@pytest.mark.parametrize("connection", ["ssh", "paramiko", "ansible.netcommon.libssh"])
@pytest.mark.parametrize("event", EVENTS)
def test_no_way_back_but_the_network(event, connection):
    name = "drill_" + event
    with pytest.raises(PolicyError) as refused:
        read({name: True}, connection)
    (problem,) = refused.value.problems
    assert problem.startswith("{0}: True will not do: this host is reached by {1} alone".format(name, connection))
    assert "drill_out_of_band=true" in problem
    assert getattr(read({name: True, "drill_out_of_band": True}, connection), event) is True


def test_the_reboot_of_the_host_that_the_run_stands_on():
    with pytest.raises(PolicyError) as refused:
        read({"drill_reboot": True, "drill_out_of_band": True}, "ansible.builtin.local")
    (problem,) = refused.value.problems
    assert problem.startswith(
        "drill_reboot: True will not do: this host is reached by connection ansible.builtin.local"
    )


# What is planned


def test_the_events_that_are_asked_for():
    made = plan(facts(FIREWALLD), ALL, check=False)
    assert made == (
        ["firewall", "reload", "reboot"],
        ["firewalld"],
        [
            "drill_firewall: restart firewalld",
            "drill_reload: stop firewalld, unload nf_conntrack with all that needs it, load it, start firewalld",
            "drill_reboot: reboot",
        ],
        [],
        "",
    )


def test_one_event():
    made = plan(facts(FIREWALLD), Asked(reload=True), check=False)
    assert made.events == ["reload"]
    assert made.said[0] == "drill_firewall: not asked for; drill_firewall=true would restart firewalld"
    assert made.said[2] == "drill_reboot: not asked for; drill_reboot=true would reboot"


def test_nothing_is_done_without_being_asked_for():
    made = plan(facts({**FIREWALLD, **NOT_ROOT}), Asked(), check=False)
    assert (made.events, made.refusals) == ([], [])
    assert [line.split(";")[0] for line in made.said] == ["drill_{0}: not asked for".format(event) for event in EVENTS]


def test_nothing_is_done_in_check_mode():
    made = plan(facts(FIREWALLD), ALL, check=True)
    assert made.events == []
    assert made.said[0] == "drill_firewall: check mode, not done: restart firewalld"
    assert made.said[2] == "drill_reboot: check mode, not done: reboot"


def test_nothing_is_done_to_read_how_a_run_ended():
    made = plan(facts(FIREWALLD), ALL._replace(id=RUN), check=False)
    assert (made.events, made.id) == ([], RUN)
    assert made.said[1] == "drill_reload: not done: how it ended in run {0} is read".format(RUN)


@pytest.mark.parametrize(
    ("changes", "event", "because"),
    [
        (NO_FIREWALL, "firewall", "no firewall service is active"),
        ({"state": "builtin"}, "reload", "built into this kernel, it cannot be unloaded"),
        (NOT_LOADED, "reload", "it is not loaded"),
        (CONTAINER, "reload", "this is a container; drill its host"),
        (CONTAINER, "reboot", "this is a container; drill its host"),
        ({"state": "absent"}, "firewall", "no connection tracking in this kernel"),
        ({"state": "absent"}, "reboot", "no connection tracking in this kernel"),
    ],
)
def test_what_cannot_be_done_here(changes, event, because):
    made = plan(facts(changes), ALL, check=False)
    assert event not in made.events
    assert "drill_{0}: nothing to do: {1}".format(event, because) in made.said


def test_a_module_is_reloaded_without_any_firewall():
    made = plan(facts(NO_FIREWALL), Asked(reload=True), check=False)
    assert made.events == ["reload"]
    assert "drill_reload: unload nf_conntrack with all that needs it, load it" in made.said


def test_root_is_needed():
    made = plan(facts({**FIREWALLD, **NOT_ROOT}), Asked(reboot=True), check=False)
    assert made.refusals == ["root is needed to reboot; run with --become"]


@pytest.mark.parametrize("name", ["firewalld", "iptables", "netfilter_persistent", "nftables", "ufw"])
def test_the_firewall_that_is_active(name):
    assert firewalls(facts({**NO_FIREWALL, "services." + name: {"active": True}})) == [name.replace("_", "-")]
    assert firewalls(facts({**NO_FIREWALL, "services." + name: {"active": False}})) == []


def test_two_firewalls():
    assert (
        "drill_firewall: restart firewalld and nftables"
        in plan(facts({"services.firewalld": {"active": True}}), ALL, check=False).said
    )
    assert firewalls({"state": "loaded"}) == []


# What is found


def test_the_words_of_all_events():
    found, _rows = judged(*(reading(event) for event in ("before", *EVENTS)))
    assert found.said == ["kept: after firewall restart, module reload and reboot, all 22 values are what they were."]


def reading(event="before", changes=(), end="done"):
    return {"event": event, "facts": facts(changes), "end": end}


def judged(*readings):
    found = verdict(list(readings), "web01")
    return found, {line.split("  ")[0]: " ".join(line.split()) for line in found.table}


def test_kept():
    found, rows = judged(reading(), reading("firewall", {"table.count": 7}), reading("reboot"))
    assert found.kept
    assert found.said == ["kept: after firewall restart and reboot, all 22 values are what they were."]
    assert found.table[0] == "web01"
    assert rows["value"] == "value before firewall restart reboot"
    assert rows["limit (entries)"] == "limit (entries) 8192 8192 8192"
    assert len(found.table) == 2 + 3 + len(TIMEOUTS) + 2


@pytest.mark.parametrize(
    ("changes", "label", "row"),
    [
        ({"table.max": 262144}, "limit (entries)", "limit (entries) 8192 262144 <-"),
        ({"table.buckets": 4096}, "buckets", "buckets 8192 4096 <-"),
        ({"timeouts": dict(TIMEOUTS, udp=10)}, "udp (s)", "udp (s) 30 10 <-"),
        ({"timeouts": dict(TIMEOUTS, sctp_established=1)}, "sctp_established (s)", "sctp_established (s) 210 1 <-"),
        ({"switches": {"tcp_loose": 1, "tcp_be_liberal": 1}}, "tcp_be_liberal", "tcp_be_liberal 0 1 <-"),
        ({"files": {SYSCTL: FILE}}, SYSCTL, SYSCTL + " absent 1a8d5d8e 0644 <-"),
        ({"table.max": None}, "limit (entries)", "limit (entries) 8192 - <-"),
    ],
    ids=repr,
)
def test_each_value_counts(changes, label, row):
    found, rows = judged(reading(), reading("reload", changes))
    assert not found.kept
    assert rows[label] == row
    assert found.said[0] == "MOVED by the module reload: " + label
    assert "headroom.netfilter.tune -i INVENTORY --limit web01" in found.said[1]
    assert len(found.said) == 2
    assert sum("<-" in line for line in found.table) == 1


@pytest.mark.parametrize("change", [{"sha256": "f"}, {"mode": "0600"}, {"owner": "web"}, {"group": "web"}], ids=repr)
def test_a_file_is_its_content_its_mode_and_its_owners(change):
    before = reading(changes={"files": {SYSCTL: FILE}})
    found, _rows = judged(before, reading("reboot", {"files": {SYSCTL: dict(FILE, **change)}}))
    assert found.said[0] == "MOVED by the reboot: " + SYSCTL
    assert judged(before, dict(before, event="reboot"))[0].kept
    assert not judged(before, reading("reboot"))[0].kept


def test_the_limit_of_expectations_where_the_facts_have_it():
    found, rows = judged(reading(changes={"table.expect_max": 32}), reading("firewall", {"table.expect_max": 128}))
    assert rows["expectations"] == "expectations 32 128 <-"
    assert found.said[0] == "MOVED by the firewall restart: expectations"


def test_a_value_is_moved_by_the_first_event_that_moves_it():
    lost = {"table.max": 4096, "timeouts": dict(TIMEOUTS, udp=10)}
    found, rows = judged(
        reading(), reading("firewall", {"table.max": 4096}), reading("reload", lost), reading("reboot")
    )
    assert found.said[:2] == ["MOVED by the firewall restart: limit (entries)", "MOVED by the module reload: udp (s)"]
    # That it came back does not undo it.
    assert rows["limit (entries)"] == "limit (entries) 8192 4096 4096 8192 <-"


@pytest.mark.parametrize("more", [{}, {"table.max": 262144}], ids=["kept", "moved"])
def test_what_another_run_changed_meanwhile_is_no_events_doing(more):
    last = {
        "id": "20261125T100000Z-0123456789ab",
        "state": "kept",
        "when": "2026-11-25T10:00:00Z",
        "who": "ann@control",
    }
    history = {"last": last, "unfinished": None, "changes": [last], "hold": None}
    found, _rows = judged(reading(), reading("reload", dict(more, history=history)))
    assert not found.kept
    assert found.said == [
        "CHANGED meanwhile by another run (20261125T100000Z-0123456789ab, of ann@control): what the events did cannot be told; drill again"
    ]
    assert judged(reading(changes={"history": history}), reading("reload", {"history": history}))[0].kept


def test_what_was_not_known_before_is_compared_from_then_on():
    """A module that is loaded by the first event."""
    first, loaded = reading(changes=NOT_LOADED), reading("firewall")
    assert judged(first, loaded)[0].kept
    found, rows = judged(first, loaded, reading("reboot", {"table.max": 1}))
    assert found.said[0] == "MOVED by the reboot: limit (entries)"
    assert rows["limit (entries)"] == "limit (entries) - 8192 1 <-"
    assert judged(first, reading("firewall", NOT_LOADED))[0].kept


def test_what_went_wrong_is_said_and_fails():
    found, _rows = judged(reading(), reading("reload", end="rules hold nft_ct"))
    assert (found.kept, found.said) == (False, ["NOT DONE, module reload: rules hold nft_ct"])


def test_columns():
    found, _rows = judged(reading(), reading("firewall", {"table.max": 1}))
    assert found.table[1:4] == [
        "value                   before  firewall restart",
        "limit (entries)           8192                 1  <-",
        "buckets                   8192              8192",
    ]
