# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Bad input: each finding names the variable, the value, and what would do."""

import json
import re
import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError

ENTRIES = "a whole number of entries from 1 to 2147483647"
BUCKETS = "a whole number of buckets from 1 to 268435455"
FACTOR = "a factor from 1 to 100"
PERCENTAGE = "a percentage from 0.01 to 50"
SECONDS = "a whole number of seconds from 1 to 89478485"
MAPPING = 'a mapping such as {tcp_established: 7440}; on a command line -e \'{"conntrack_timeouts": {"tcp_established": 7440}}\''

# Variable without its prefix, value, what would do.
ONE_VALUE = [
    ("max", -1, ENTRIES),
    ("max", 0, ENTRIES),
    ("max", 2**31, ENTRIES),
    ("max", 2**40, ENTRIES),
    ("max", 1.5, ENTRIES),
    ("max", 65536.0, ENTRIES),
    ("max", "65536.0", ENTRIES),
    ("max", True, ENTRIES),
    ("max", False, ENTRIES),
    ("max", "many", ENTRIES),
    ("max", "1e6", ENTRIES),
    ("max", "0x10000", ENTRIES),
    ("max", "1 048 576", ENTRIES),
    ("max", "--5", ENTRIES),
    ("max", "+-5", ENTRIES),
    ("max", "\u00b2", ENTRIES),
    ("max", "\uff11\uff12", ENTRIES),
    ("max", "\u0661\u0662", ENTRIES),
    ("max", "1_000_000", ENTRIES),
    ("max", "1e400", ENTRIES),
    ("max", float("nan"), ENTRIES),
    ("max", float("inf"), ENTRIES),
    ("max", "0" * 15 + "65536", ENTRIES),
    ("max", " ", ENTRIES),
    ("max", [65536], ENTRIES),
    ("max", {"value": 65536}, ENTRIES),
    ("tcp_loose", 2, "true or false, or 1 or 0"),
    ("tcp_loose", -1, "true or false, or 1 or 0"),
    ("tcp_be_liberal", "maybe", "true or false, or 1 or 0"),
    ("tcp_be_liberal", [1], "true or false, or 1 or 0"),
    ("expected_connections", 0, "a whole number of connections from 1 to 2147483647"),
    ("expected_connections", "-300000", "a whole number of connections from 1 to 2147483647"),
    ("headroom", 0.99, FACTOR),
    ("headroom", 0, FACTOR),
    ("headroom", -2, FACTOR),
    ("headroom", 101, FACTOR),
    ("headroom", True, FACTOR),
    ("headroom", "twice", FACTOR),
    ("headroom", "2,5", FACTOR),
    ("headroom", "nan", FACTOR),
    ("headroom", "inf", FACTOR),
    ("headroom", "1e400", FACTOR),
    ("headroom", 1e400, FACTOR),
    ("headroom", float("nan"), FACTOR),
    ("headroom", "1_0", FACTOR),
    ("headroom", "\uff12", FACTOR),
    ("headroom", "\u00b2", FACTOR),
    ("headroom", "2.0.0", FACTOR),
    ("headroom", "0x2", FACTOR),
    ("headroom", ".", FACTOR),
    ("headroom", [2], FACTOR),
    ("memory_percent", 0, PERCENTAGE),
    ("memory_percent", 51, PERCENTAGE),
    ("memory_percent", "2%", PERCENTAGE),
    ("memory_percent", False, PERCENTAGE),
    ("max_floor", 0, ENTRIES),
    ("max_floor", "low", ENTRIES),
    ("max_ceiling", 2**31, ENTRIES),
    ("max_ceiling", 2.5, ENTRIES),
    ("entries_per_bucket", 0, "a whole number of entries from 1 to 8"),
    ("entries_per_bucket", 9, "a whole number of entries from 1 to 8"),
    ("entries_per_bucket", 0.5, "a whole number of entries from 1 to 8"),
    ("hashsize", 0, BUCKETS),
    ("hashsize", 2**28, BUCKETS),
    ("hashsize", "64k", BUCKETS),
    ("timeout_profile", "Server", "kernel, server, gateway, kubernetes, dns, edge; did you mean server?"),
    ("timeout_profile", "router", "kernel, server, gateway, kubernetes, dns, edge"),
    ("timeout_profile", 1, "kernel, server, gateway, kubernetes, dns, edge"),
    ("timeout_profile", ["server"], "kernel, server, gateway, kubernetes, dns, edge"),
    ("timeouts", "tcp_established=7440", MAPPING),
    ("timeouts", [{"udp": 30}], MAPPING),
    ("timeouts", 30, MAPPING),
    ("timeouts", '{"udp":', MAPPING),
    ("timeouts", "{'udp': 30}", MAPPING),
    ("timeouts", "{udp: 30}", MAPPING),
    ("timeouts", '["udp"]', MAPPING),
    ("timeouts", '"{}"', MAPPING),
    ("timeouts", "30", MAPPING),
    ("timeouts", "null", MAPPING),
    ("timeouts", '{"udp": 0}', "udp: '0': expected " + SECONDS),
    ("timeouts", '{"udp": 1.5}', "udp: '1.5': expected " + SECONDS),
    ("timeouts", '{"udp": NaN}', "udp: 'NaN': expected " + SECONDS),
    ("timeouts", '{"udp": true}', "udp: True: expected " + SECONDS),
    ("timeouts", '{"upd": 30}', "'upd' is not a timeout this collection knows; did you mean udp?"),
    (
        "timeouts",
        {"tcp_establish": 7440},
        "'tcp_establish' is not a timeout this collection knows; did you mean tcp_established?",
    ),
    ("timeouts", {"nf_conntrack_udp_timeout_stream": 60}, "did you mean udp_stream?"),
    ("timeouts", {"net.netfilter.nf_conntrack_tcp_timeout_close_wait": 60}, "did you mean tcp_close_wait?"),
    ("timeouts", {"net.ipv4.netfilter.ip_conntrack_icmp_timeout": 60}, "did you mean icmp?"),
    ("timeouts", {5: 60}, "5 is not a timeout"),
    ("timeouts", {None: 60}, "None is not a timeout"),
    ("timeouts", {"udp": 0}, "udp: 0: expected " + SECONDS),
    ("timeouts", {"udp": -30}, "udp: -30: expected " + SECONDS),
    ("timeouts", {"udp": 89478486}, "udp: 89478486: expected " + SECONDS),
    ("timeouts", {"udp": 0.5}, "udp: 0.5: expected " + SECONDS),
    ("timeouts", {"udp": "30s"}, "udp: '30s': expected " + SECONDS),
    ("timeouts", {"udp": True}, "udp: True: expected " + SECONDS),
    ("timeouts", {"udp": None}, "udp: None: expected " + SECONDS),
    ("rfc_floors", "strict", "enforce, warn, ignore"),
    ("rfc_floors", "enforced", "did you mean enforce?"),
    ("rfc_floors", True, "enforce, warn, ignore"),
    ("shrink", "maybe", "true or false"),
    ("shrink", 1, "true or false"),
    ("shrink", 0.0, "true or false"),
    ("apply", "on", "true or false"),
    ("apply", [], "true or false"),
    ("firewall", "none", "true or false"),
    ("firewall", {}, "true or false"),
    ("target", "images", "host, image; did you mean image?"),
    ("target", True, "host, image"),
    ("state", "gone", "present, absent"),
    ("state", ["absent"], "present, absent"),
]

# Variables that are each in order, the one that is named, and what would do.
CONTRADICTIONS = [
    ({"max_floor": 300000, "max_ceiling": 200000}, "max_floor", 300000, "conntrack_max_ceiling 200000"),
    ({"max_floor": 4194304}, "max_floor", 4194304, "conntrack_max_ceiling 2097152"),
    ({"max_ceiling": 1024}, "max_floor", 65536, "conntrack_max_ceiling 1024"),
    (
        {"max": 1000},
        "max",
        1000,
        "conntrack_max_floor 65536; name at least that, lower conntrack_max_floor, or set conntrack_shrink=true",
    ),
    ({"max": "65535"}, "max", 65535, "conntrack_max_floor 65536"),
    ({"max": 100000, "expected_connections": 100001}, "max", 100000, "conntrack_expected_connections 100001"),
    ({"max": 1048576, "hashsize": 131071}, "hashsize", 131071, "below conntrack_max 1048576; use at least 131072"),
    ({"max": 1000001, "hashsize": 125000}, "hashsize", 125000, "use at least 125001, or leave it unset"),
    # An eighth would be one more than can be asked for.
    (
        {"max": 2147483641, "hashsize": 268435455},
        "hashsize",
        268435455,
        "below conntrack_max 2147483641; leave it unset",
    ),
    (
        {"timeout_profile": "gateway", "rfc_floors": "enforce", "timeouts": {"tcp_established": 3600}},
        "timeouts",
        {"tcp_established": 3600},
        "RFC 5382 REQ-5 asks for at least 7440 s",
    ),
    (
        {"timeout_profile": "gateway", "rfc_floors": "enforce", "timeouts": {"udp": 119}},
        "timeouts",
        {"udp": 119},
        "RFC 4787 REQ-5 asks for at least 120 s",
    ),
    (
        {"timeout_profile": "gateway", "rfc_floors": "enforce", "timeouts": {"icmpv6": 59}},
        "timeouts",
        {"icmpv6": 59},
        "RFC 5508 REQ-2 asks for at least 60 s",
    ),
]


def test_what_is_proposed_holds_the_peak_too():
    floor, peak = problems(max=1000, expected_connections=70000)
    assert floor.endswith("below conntrack_max_floor 65536; name at least 70000, or lower conntrack_max_floor")
    assert "below conntrack_expected_connections 70000" in peak


def label(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:20] + "..."


def problems(**fields):
    with pytest.raises(PolicyError) as caught:
        read({"conntrack_" + field: value for field, value in fields.items()})
    assert str(caught.value).splitlines() == caught.value.problems
    return caught.value.problems


@pytest.mark.parametrize(("field", "value", "wanted"), ONE_VALUE, ids=label)
def test_one_value(field, value, wanted):
    (problem,) = problems(**{field: value})
    assert problem.startswith(f"conntrack_{field}: {value!r} will not do: ")
    assert wanted in problem


@pytest.mark.parametrize(("fields", "field", "value", "wanted"), CONTRADICTIONS, ids=label)
def test_values_that_cannot_be_meant_together(fields, field, value, wanted):
    (problem,) = problems(**fields)
    assert problem.startswith(f"conntrack_{field}: {value!r} will not do: ")
    assert wanted in problem


def test_there_are_enough_of_them():
    assert len(ONE_VALUE) + len(CONTRADICTIONS) >= 45


def test_everything_wrong_is_found_at_once():
    found = problems(max=-1, headroom="x", timeout_profile="y", shrink="z", memory_percent=99)
    assert sorted(problem.partition(":")[0] for problem in found) == [
        "conntrack_headroom",
        "conntrack_max",
        "conntrack_memory_percent",
        "conntrack_shrink",
        "conntrack_timeout_profile",
    ]


def test_each_wrong_timeout_is_named_at_once():
    said = "\n".join(problems(timeouts={"udp": -1, "tcp_establish": 5, "icmp": True, "generic": 600}))
    assert "udp: -1" in said
    assert "'tcp_establish' is not a timeout" in said
    assert "icmp: True" in said


def test_a_contradiction_shows_beside_an_unrelated_fault():
    found = problems(headroom="x", max_floor=10, max_ceiling=5)
    assert [problem.partition(":")[0] for problem in found] == ["conntrack_headroom", "conntrack_max_floor"]


def test_a_pair_of_which_one_is_not_understood_is_not_compared():
    (problem,) = problems(max="x", expected_connections=300000, hashsize=1)
    assert problem.startswith("conntrack_max: 'x'")


def test_all_contradictions_are_found_at_once():
    found = problems(max=1000, hashsize=1, expected_connections=2000, max_floor=20, max_ceiling=10)
    assert [problem.partition(":")[0] for problem in found] == [
        "conntrack_max_floor",
        "conntrack_max",
        "conntrack_hashsize",
    ]


class Wrapped(str):
    """Text as templating hands it over: a subclass of its own, and what is cut from it is one, too."""

    __slots__ = ()

    def __repr__(self):
        return "Wrapped"

    def __getitem__(self, key):
        return Wrapped(super().__getitem__(key))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 98, "'" + "x" * 98 + "'"),
        ("x" * 99, "'" + "x" * 96 + "..."),
        ("x" * 2**20, "'" + "x" * 96 + "..."),
        ("9" * 2**20, "'" + "9" * 96 + "..."),
        (10**400, "0x"),
        (1 << 2**22, "0x1000000000"),
        ("\x1b[2J\u202e\x00\x85\u2028\ud800", r"'\x1b[2J\u202e\x00\x85\u2028\ud800'"),
        (Wrapped("many"), "'many'"),
        ([Wrapped("many"), {Wrapped("a"): Wrapped("b")}], "['many', {'a': 'b'}]"),
        (["x" * 2**20] * 1000, "['" + "x" * 95 + "..."),
        ([1] * 2**20, "[1, 1, 1, "),
        ({number: [] for number in range(2**20)}, "{0: [], 1: [], "),
        ({"x" * 2**20: "\x1b"}, "{'" + "x" * 95 + "..."),
        ((1, "\x9b"), r"(1, '\x9b')"),
    ],
    ids=[
        "whole",
        "cut",
        "long text",
        "long digits",
        "long number",
        "longer number",
        "escaped",
        "wrapped",
        "wrapped within",
        "list of long texts",
        "long list",
        "long mapping",
        "long name",
        "something else",
    ],
)
def test_what_is_shown_of_a_value(value, shown):
    started = time.process_time()
    (problem,) = problems(max=value)
    assert problem.startswith("conntrack_max: " + shown)
    assert len(problem) <= len("conntrack_max: " + " will not do: expected " + ENTRIES) + 100
    assert problem.isprintable()
    assert time.process_time() - started < 1


def test_what_is_nested_without_end_is_cut_as_well():
    endless = []
    endless.append(endless)
    assert problems(max=endless)[0].startswith("conntrack_max: [[[[")
    assert problems(timeouts="[" * 2**20)[0].startswith("conntrack_timeouts: '[[[[")


@pytest.mark.parametrize(
    "value",
    [
        {"x" * 2**20: 1},
        {"x{0}".format(number): 1 for number in range(10**5)},
        {"udp": "x" * 2**20},
        {"udp": 10**400},
        '{"udp": ' + "9" * 2**20 + "}",
        "{" + ", ".join('"x{0}": 1'.format(number) for number in range(10**4)) + "}",
    ],
    ids=["name", "names", "text", "number", "number in JSON", "names in JSON"],
)
def test_many_or_long_timeouts_are_one_short_sentence(value):
    started = time.process_time()
    (problem,) = problems(timeouts=value)
    assert len(problem) < 2000
    assert time.process_time() - started < 1


def test_names_that_are_nearly_right_are_told_with_the_values_that_are_not():
    with pytest.raises(PolicyError) as caught:
        read({"conntrack_max": -1}, ["conntrack_max", "conntrack_hosts", "conntrack_head_room", "ansible_host"])
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["conntrack_max", "conntrack_head_room"]
    assert caught.value.problems[1].endswith("did you mean conntrack_headroom?")


def test_what_a_refusal_says_to_write_will_do():
    (problem,) = problems(timeouts="udp=30")
    given = json.loads(re.search("-e '(.*)'", problem).group(1))
    assert read(given).timeouts == {"tcp_established": 7440}
