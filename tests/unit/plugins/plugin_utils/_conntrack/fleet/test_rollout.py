# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Who is in which wave, when a rollout stops, and what is said of each host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet import rollout
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet.rollout import (
    Host,
    next_wave,
    told,
    waves,
)

READ = {"pending": True, "refusals": []}
CHANGED = {"changed": True, "checked": False, "reboot_needed": [], "files_only": False}
RED = {"failed": True, "msg": "port 443 from the controller: refused"}


def host(number, order=0, state="not begun"):
    return Host(f"h{number}", order, state, "")


@pytest.mark.parametrize(
    ("count", "sizes", "expected"),
    [
        (5, (1, "10%", "100%"), [1, 1, 3]),
        (30, (1, "10%", "100%"), [1, 3, 26]),
        (1, (1, "10%", "100%"), [1]),
        (7, (2,), [2, 2, 2, 1]),
        (7, ("50%",), [3, 3, 1]),
        (3, ("1%",), [1, 1, 1]),
        (4, (10,), [4]),
        (0, (1,), []),
    ],
)
def test_how_many_are_in_each_wave(count, sizes, expected):
    assert [len(wave) for wave in waves([host(number) for number in range(count)], sizes)] == expected


@given(
    st.lists(st.integers(-5, 5), max_size=40),
    st.lists(st.integers(1, 9) | st.integers(1, 100).map("{0}%".format), min_size=1, max_size=4),
)
def test_every_host_is_in_one_wave_and_in_its_order(orders, sizes):
    hosts = [host(number, order) for number, order in enumerate(orders)]
    names = [name for wave in waves(hosts, sizes) for name in wave]
    assert names == [one.name for one in sorted(hosts, key=lambda one: one.order)]
    assert all(waves(hosts, sizes))


def run(states, sizes, most):
    """The hosts that were changed, and what it stopped for; each comes to its state in its wave."""
    hosts = [host(number) for number in range(len(states))]
    changed, wave = [], None
    while wave is None or wave["later"]:
        wave = next_wave(hosts, wave, sizes, most)._asdict()
        if wave["stop"]:
            continue
        changed += wave["hosts"]
        hosts = [one._replace(state=states[int(one.name[1:])]) if one.name in wave["hosts"] else one for one in hosts]
    return changed, wave["stop"]


@pytest.mark.parametrize("bad", rollout.BAD)
@pytest.mark.parametrize(("most", "begun"), [(0, 2), (1, 6)])
def test_no_wave_comes_after_too_many_failures(bad, most, begun):
    changed, stop = run(["applied", bad, "applied", "applied", "applied", "applied"], [1, 1, 4], most)
    assert len(changed) == begun
    assert (f"h1 {bad}" in stop and "4 hosts not begun" in stop) if most == 0 else stop == ""


def test_what_failed_when_it_was_read_stops_what_comes_after_its_wave():
    hosts = [host(0), host(1, state="unreachable"), host(2)]
    first = next_wave(hosts, None, [1], 0)
    second = next_wave([hosts[0]._replace(state="applied"), *hosts[1:]], first._asdict(), [1], 0)
    assert (second.hosts, second.stop) == (["h1"], "")
    third = next_wave([hosts[0]._replace(state="applied"), *hosts[1:]], second._asdict(), [1], 0)
    assert "h1 unreachable" in third.stop


@given(st.lists(st.sampled_from(rollout.STATES), min_size=1, max_size=30), st.integers(0, 3), st.integers(1, 5))
def test_it_goes_on_as_long_as_not_too_many_have_failed(states, most, size):
    changed, stop = run(states, [size], most)
    failed = sum(states[int(name[1:])] in rollout.BAD for name in changed)
    assert bool(stop) == (len(changed) < len(states))
    assert (failed > most) if stop else len(changed) == len(states)
    # Without its last wave it had not failed too often.
    assert sum(states[int(name[1:])] in rollout.BAD for name in changed[: -(len(changed) % size or size)]) <= most


@pytest.mark.parametrize(
    ("variables", "state", "why"),
    [
        ({}, "not begun", "it was not read"),
        ({"__tune_read": {"pending": False, "refusals": []}}, "converged", ""),
        ({"__tune_read": READ}, "not begun", ""),
        ({"__tune_read": {**READ, "refusals": ["too large", "too small"]}}, "not begun", "too large"),
        ({"__tune_read": {"unreachable": True, "msg": "no route"}}, "unreachable", "no route"),
        ({"__tune_read": {"failed": True, "msg": "no python"}}, "failed", "no python"),
        ({"__tune_read": READ, "conntrack_result": {"skipped": True}}, "not begun", ""),
        ({"__tune_read": READ, "conntrack_result": CHANGED}, "applied", ""),
        (
            {"__tune_read": READ, "conntrack_result": {**CHANGED, "reboot_needed": ["hashsize"]}},
            "applied",
            "a reboot is needed for hashsize",
        ),
        (
            {"__tune_read": READ, "conntrack_result": {**CHANGED, "files_only": True}},
            "deferred",
            "live at the next boot",
        ),
        ({"__tune_read": READ, "conntrack_result": {**CHANGED, "checked": True}}, "pending", ""),
        ({"__tune_read": READ, "conntrack_result": {**CHANGED, "changed": False}}, "converged", ""),
        (
            {"__tune_read": READ, "conntrack_result": {"failed": True, "refusals": ["too large"], "msg": "Refused"}},
            "refused",
            "too large",
        ),
        (
            {"__tune_read": READ, "conntrack_result": {"failed": True, "msg": "disk\nfull", "restored": ["/etc/a"]}},
            "undone",
            "disk",
        ),
        (
            {
                "__tune_read": READ,
                "conntrack_result": {"failed": True, "msg": "disk full", "restored": ["/etc/a"], "not_restored": ["b"]},
            },
            "failed",
            "disk full",
        ),
        ({"__tune_read": READ, "conntrack_result": {"unreachable": True, "msg": "gone"}}, "unreachable", "gone"),
        (
            {
                "__tune_read": READ,
                "conntrack_result": CHANGED,
                "__tune_probed": RED,
                "__tune_undone": {"changed": True},
            },
            "undone",
            f"a probe is red after the change: {RED['msg']}",
        ),
        (
            {
                "__tune_read": READ,
                "conntrack_result": CHANGED,
                "__tune_probed": RED,
                "__tune_undone": {"failed": True, "msg": "held"},
            },
            "failed",
            f"a probe is red after the change: {RED['msg']}; and the change could not be undone: held",
        ),
    ],
)
def test_the_state_of_a_host(variables, state, why):
    found = rollout.host_of({"inventory_hostname": "web1", "tune_order": "3", **variables})
    assert found == Host("web1", 3, state, why)


def test_what_is_told():
    hosts = [
        host(0, state="applied"),
        host(1, state="applied"),
        Host("h2", 0, "refused", "too large"),
        Host("h3", 0, "refused", "too large"),
        host(4),
        host(5, state="converged"),
    ]
    assert told(hosts, "stopped") == [
        "2 refused, 1 not begun, 2 applied, 1 converged",
        "stopped",
        "refused: h2, h3: too large",
        "not begun: h4",
        "what is left, once that is seen to: --limit 'h2,h3,h4'",
    ]
    assert told([]) == ["no hosts"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"tune_waves": 0}, "tune_waves: 0 will not do"),
        ({"tune_waves": []}, "expected a list of numbers of hosts"),
        ({"tune_waves": ["0%"]}, "found '0%'"),
        ({"tune_waves": ["101%"]}, "found '101%'"),
        ({"tune_waves": [1.5]}, "found 1.5"),
        ({"tune_waves": [True]}, "found True"),
        ({"tune_waves": {"first": 1}}, "expected a list of numbers of hosts"),
        ({"tune_max_failures": -1}, "expected a whole number of hosts from 0"),
        ({"tune_max_failures": "10%"}, "expected a whole number of hosts"),
        ({"tune_order": "first"}, "tune_order: 'first' will not do"),
        ({"tune_deferred": "later"}, "expected true or false"),
        ({"tune_check_fail": 2}, "expected true or false"),
        ({"tune_probe_seconds": 4000}, "expected a whole number of seconds from 0 to 3600"),
        ({"tune_probes": {"port": 443}}, "expected a list of probes"),
        ({"tune_probes": [{"port": 443, "url": "http://a"}]}, "with one of port, url or command"),
        ({"tune_probes": [{"port": 70000}]}, "expected a whole number of the port from 1 to 65535"),
        ({"tune_probes": [{"url": "file:///etc/shadow"}]}, "begins with http:// or https://"),
        ({"tune_probes": [{"command": []}]}, "a program and its words"),
        ({"tune_probes": [{"command": "a", "from": "moon"}]}, "expected one of controller, host"),
        ({"tune_probes": [{"prot": 443}]}, "found {'prot': 443}"),
        ({"tune_probe": []}, "did you mean tune_probes?"),
        ({"tune_max_failure": 1}, "did you mean tune_max_failures?"),
    ],
)
def test_input_that_would_not_do(variables, said):
    assert any(said in problem for problem in rollout.input_errors(variables, variables)), rollout.input_errors(
        variables, variables
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"tune_waves": "1,10%,100%"},
        {"tune_waves": 5},
        {"tune_waves": [1, "10%"], "tune_max_failures": "3", "tune_order": -4, "tune_deferred": "yes"},
        {
            "tune_probes": [
                {"port": "443"},
                {"url": "https://a/b"},
                {"command": "systemctl is-active nginx", "name": "up"},
            ]
        },
        {"tune_waves": None, "tune_probes": ""},
        {"tune_a_playlist": True},
    ],
)
def test_input_that_does(variables):
    assert rollout.input_errors(variables, variables) == []
