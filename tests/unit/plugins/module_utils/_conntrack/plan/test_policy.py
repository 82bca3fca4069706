# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Good input: what is read of it."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy, read, timeouts_of
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES


class Wrapped(str):
    """Text as templating hands it over: a subclass of its own."""

    __slots__ = ()

    def __repr__(self):
        return f"Wrapped({super().__repr__()})"


GOOD = [
    ("max", 65536, 65536),
    ("max", "65536", 65536),
    ("max", " 65536\n", 65536),
    ("max", "+65536", 65536),
    ("max", "0065536", 65536),
    ("max", Wrapped("65536"), 65536),
    ("max", 2**31 - 1, 2147483647),
    ("expected_connections", "300000", 300000),
    ("headroom", 1, 1.0),
    ("headroom", "1.5", 1.5),
    ("headroom", 100, 100.0),
    ("headroom", Wrapped(" 2.50 "), 2.5),
    ("headroom", "1e1", 10.0),
    ("memory_percent", "0.01", 0.01),
    ("memory_percent", 50, 50.0),
    ("max_floor", 1, 1),
    ("max_ceiling", "4194304", 4194304),
    ("entries_per_bucket", 8, 8),
    ("entries_per_bucket", "4", 4),
    ("hashsize", 2**28 - 1, 268435455),
    ("timeout_profile", "edge", "edge"),
    ("timeout_profile", Wrapped("dns"), "dns"),
    ("timeouts", {"udp": "60", "gre_stream": 1}, {"udp": 60, "gre_stream": 1}),
    ("tcp_loose", True, 1),
    ("tcp_loose", "no", 0),
    ("tcp_loose", 0, 0),
    ("tcp_be_liberal", "1", 1),
    ("timeouts", {"tcp_established": 89478485}, {"tcp_established": 89478485}),
    ("timeouts", {}, {}),
    ("timeouts", '{"udp":"40"}', {"udp": 40}),
    ("timeouts", '{"udp": 40, "tcp_established": 7440}', {"udp": 40, "tcp_established": 7440}),
    ("timeouts", Wrapped(' {"udp": 40}\n'), {"udp": 40}),
    ("timeouts", {Wrapped("udp"): Wrapped("40")}, {"udp": 40}),
    ("timeouts", "{}", {}),
    ("rfc_floors", "ignore", "ignore"),
    ("shrink", True, True),
    ("shrink", "yes", True),
    ("shrink", "True", True),
    ("shrink", "no", False),
    ("apply", "false", False),
    ("apply", "No", False),
    ("firewall", " TRUE ", True),
    ("target", "image", "image"),
    ("target", Wrapped("host"), "host"),
    ("state", "absent", "absent"),
]


@pytest.mark.parametrize(("field", "value", "wanted"), GOOD, ids=repr)
def test_read(field, value, wanted):
    policy = read({"conntrack_" + field: value})
    assert policy == Policy()._replace(**{field: wanted})
    assert type(getattr(policy, field)) is type(wanted)


@pytest.mark.parametrize("unset", [None, ""], ids=repr)
def test_unset_is_the_default(unset):
    assert read({"conntrack_" + field: unset for field in Policy._fields}) == Policy()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"conntrack_expire_everything": "nonsense", "conntrack_hosts": "web", "max": -1, "ansible_host": "192.0.2.1"},
    ],
    ids=["none", "of others"],
)
def test_other_variables_are_passed_over(variables):
    assert read(variables, variables) == Policy()


@pytest.mark.parametrize(
    "fields",
    [
        {"max": 65536},
        {"max": 1000, "shrink": True},
        {"max": 1000, "max_floor": 1000},
        {"max": 4194304},
        {"max": 300000, "expected_connections": 300000},
        {"max": 1048576, "hashsize": 131072},
        {"max_floor": 100000, "max_ceiling": 100000},
        {"timeout_profile": "gateway", "rfc_floors": "warn", "timeouts": {"udp": 1}},
        {"timeout_profile": "gateway", "rfc_floors": "enforce", "timeouts": {"udp": 120, "tcp_close": 1}},
        {"timeout_profile": "server", "rfc_floors": "enforce", "timeouts": {"udp": 1}},
    ],
    ids=repr,
)
def test_values_that_go_together(fields):
    assert read({"conntrack_" + field: value for field, value in fields.items()}) == Policy()._replace(**fields)


def test_single_timeouts_stand_over_the_profile():
    policy = read({"conntrack_timeout_profile": "dns", "conntrack_timeouts": {"udp": 7, "gre": 8}})
    wanted = PROFILES["dns"].seconds()
    wanted.update(udp=7, gre=8)
    assert timeouts_of(policy) == wanted
    assert PROFILES["dns"].seconds()["udp"] == 10
