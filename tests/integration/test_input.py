# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Input that will not do is refused before any host is touched, by name, value and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Machine, bad_hosts

# Variables of a host; the first of them is the one that is named, with its value.
CASES = [
    {"conntrack_max": value}
    for value in (-1, 0, 1.5, "many", True, [1], 2**40, "1e6", "1_000_000", "0x10000", "-65536", {"a": 1}, "12 k")
]
CASES += [{"conntrack_expected_connections": value} for value in (-1, 0, 2.5, "lots", False, [2], 2**40)]
CASES += [{"conntrack_headroom": value} for value in (0.5, -2, "double", True, [2.0], 1000, "nan")]
CASES += [{"conntrack_memory_percent": value} for value in (0, -1, 51, 100, "2%", True)]
CASES += [{"conntrack_max_floor": value} for value in (0, -1, "low", 1.5, True)]
CASES += [{"conntrack_max_ceiling": value} for value in (0, "high", 2**31)]
CASES += [{"conntrack_entries_per_bucket": value} for value in (0, 9, 1.5, "one")]
CASES += [{"conntrack_hashsize": value} for value in (0, -512, 2**29, "64k", True)]
CASES += [{"conntrack_timeout_profile": value} for value in ("sever", "", 3, ["server"]) if value != ""]
CASES += [
    {"conntrack_timeouts": value}
    for value in (
        "tcp_established=7440",
        '{"udp":',
        '{"udp": 0}',
        ["tcp_established"],
        {"tcp_establishd": 7440},
        {"nf_conntrack_tcp_timeout_established": 7440},
        {"tcp_established": 0},
        {"tcp_established": -1},
        {"tcp_established": 1.5},
        {"tcp_established": "two hours"},
        {"udp": 2**31},
    )
]
CASES += [
    {"conntrack_rfc_floors": "strict"},
    {"conntrack_shrink": "perhaps"},
    {"conntrack_apply": 2},
    {"conntrack_firewall": "off"},
]
CASES += [
    {"conntrack_max": 1000},
    {"conntrack_max_floor": 3000000},
    {"conntrack_max": 100000, "conntrack_expected_connections": 200000},
    {"conntrack_hashsize": 1024, "conntrack_max": 1048576},
    {"conntrack_timeouts": {"udp": 30}, "conntrack_timeout_profile": "gateway", "conntrack_rfc_floors": "enforce"},
]


def test_each_is_refused_before_any_host_is_touched(machine: Machine, tmp_path: Path) -> None:
    assert len(CASES) >= 40
    hosts = [(f"host{number:02}", variables) for number, variables in enumerate(CASES)]
    stamps, values = machine.etc(), machine.values()
    # One good host among them: it, too, is left alone.
    ran = machine.play("-i", bad_hosts(tmp_path / "hosts.json", [*hosts, ("good", {})]), expect=2)
    assert "Size, persist, apply and prove" not in ran.output
    assert (machine.etc(), machine.values()) == (stamps, values)
    said = json.loads("{" + ran.output.partition("FAILED! => {")[2].partition("\n\n")[0])["msg"]
    for name, variables in hosts:
        (sentence,) = [sentence for sentence in said if name in sentence]
        variable, value = next(iter(variables.items()))
        assert sentence.startswith(f"{variable}: {value!r} will not do: "), sentence
        assert any(
            word in sentence for word in ("expected", "use", "lower", "raise", "name", "timeout this collection knows")
        ), sentence


MISSPELT = {
    "audit": [("conntrack_expected_connection", "conntrack_expected_connections"), ("audit_fail_no", "audit_fail_on")],
    "drill": [("drill_reebot", "drill_reboot")],
    "relieve": [("conntrack_timeout", "conntrack_timeouts"), ("relieve_confrim", "relieve_confirm")],
    "tune": [("conntrack_hash_size", "conntrack_hashsize"), ("conntrack_max_cieling", "conntrack_max_ceiling")],
}


@pytest.mark.parametrize("name", MISSPELT)
def test_a_name_that_is_nearly_right_is_refused_before_any_host_is_touched(machine: Machine, name: str) -> None:
    """Other names are somebody's own, and are not even looked up."""
    own = {"conntrack_hosts": "all", "conntrack_exporter_port": "{{ nothing }}", "drill_reports": "{{ nothing }}"}
    given = {**own, **{wrong: 1 for wrong, _meant in MISSPELT[name]}}
    ran = machine.play("-e", json.dumps(given), name=name, expect=2)
    assert "Read what" not in ran.output
    for wrong, meant in MISSPELT[name]:
        assert f"{wrong}: there is no such variable; did you mean {meant}?" in ran.output
    assert "exporter" not in ran.output
    assert "reports" not in ran.output


def test_timeouts_after_an_equals_sign_are_text_that_is_read(machine: Machine) -> None:
    for given, seconds in (('{"udp":"41"}', 41), ("'{\"udp\": 42}'", 42)):
        ran = machine.play("--check", "--diff", "-e", f"conntrack_timeouts={given}")
        assert f"net.netfilter.nf_conntrack_udp_timeout = {seconds}" in ran.output
        machine.play("-e", f"relieve_timeouts={given}", name="relieve")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"conntrack_hashsize": 2**27}, "conntrack_hashsize: 134217728 buckets take 1.0 GiB"),
        ({"conntrack_max": 2**31 - 1}, "conntrack_max: 2147483647 entries take"),
        ({"conntrack_expected_connections": 10**7}, "conntrack_expected_connections: 10000000 do not fit"),
    ],
    ids=["hashsize beyond memory", "limit beyond memory", "peak beyond the bounds"],
)
def test_what_this_host_cannot_bear_is_refused_before_it_changes(machine: Machine, variables: dict, said: str) -> None:
    stamps, values = machine.etc(), machine.values()
    ran = machine.play("-e", json.dumps(variables), expect=2)
    assert said in ran.output
    assert "name at most" in ran.output or "raise conntrack_memory_percent" in ran.output
    assert (machine.etc(), machine.values()) == (stamps, values)
