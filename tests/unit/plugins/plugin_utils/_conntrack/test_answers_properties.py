# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Whatever an answer may be, what is made of it on the controller is made: no host takes another's table away."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.filter.conntrack_audit import conntrack_audit
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_drill_plan import conntrack_drill_plan
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_drill_verdict import conntrack_drill_verdict
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_plan import conntrack_plan
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_relief import conntrack_relief
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_risks import conntrack_risks
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_table import conntrack_table
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.kernel import TIMEOUTS
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import (
    BY_MODULE,
    FACTS,
    FIELDS,
    KEY,
    RECKONED,
    TIMEOUT,
    Grouping,
)
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import (
    ListOf,
    MappingOf,
    Number,
    OrNone,
    Record,
    Text,
    Truth,
    Whole,
)

# What a pattern lets through, names that are known before all.
KEYS = ["hashsize", "net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_tcp_timeout_established", "net.x"]
LIKE = {TIMEOUT.pattern: [*list(TIMEOUTS)[:5], "x"], KEY.pattern: KEYS}


def values(check):
    """What a check lets through."""
    if isinstance(check, Text):
        if check.choices:
            return st.sampled_from(sorted(check.choices))
        if check.pattern in LIKE:
            return st.sampled_from(LIKE[check.pattern])
        if check.pattern:
            return st.from_regex(re.compile(check.pattern, re.ASCII), fullmatch=True)
        return st.sampled_from(
            ["", "x", "{0}", "%s", "no", "\t", "/etc/sysctl.conf", "net.netfilter.nf_conntrack_max=1", "a: b, c"]
        )
    if isinstance(check, Whole):
        usual = [number for number in (0, 1, 8, 4096, 65536) if check.least <= number <= check.most]
        return st.sampled_from([*usual, check.most]) | st.integers(check.least, check.most)
    if isinstance(check, Number):
        return st.floats(0, check.most) | st.just(0)
    if isinstance(check, Truth):
        return st.booleans()
    if isinstance(check, OrNone):
        return st.none() | values(check.check)
    if isinstance(check, ListOf):
        return st.lists(values(check.check), max_size=2)
    if isinstance(check, MappingOf):
        return st.dictionaries(values(check.name), values(check.check), max_size=2)
    if isinstance(check, Grouping):
        rows = values(Record({**{name: FIELDS[name] for name in ("state", "source")}, **RECKONED}))
        return st.fixed_dictionaries(
            {
                "group_by": st.just("state+source"),
                "top": st.lists(rows, max_size=2),
                "others": values(Whole(0)),
                "missed": st.just(0),
            }
        )
    required = {name: values(field) for name, field in check.fields.items() if name not in check.optional}
    return st.fixed_dictionaries(required, optional={name: values(check.fields[name]) for name in check.optional})


# Facts are drawn once, for all that has them.
ANSWERED = {
    name: values(Record({field: check for field, check in answer.returned.fields.items() if check is not FACTS}))
    for name, answer in BY_MODULE.items()
}
READ = values(FACTS)
FOLLOWS = ("outcome", "left_out")
POLICIES = st.sampled_from(
    [{}, {"conntrack_max": 100000, "conntrack_takeover": True}, {"conntrack_shrink": True, "conntrack_apply": False}]
)


@pytest.mark.on_one_python
@given(READ, READ, POLICIES)
def test_facts(before, after, policy):
    told = FACTS(before)
    assert FACTS(told) == told
    # What will be follows from the rest, whatever a host says of it.
    assert {name: told[name] for name in told if name not in FOLLOWS} == {
        name: before[name] for name in before if name not in FOLLOWS
    }
    plan = conntrack_plan(before, policy)
    conntrack_risks(before)
    host = {
        "inventory_hostname": "a",
        "__conntrack_before": {"ansible_facts": {"conntrack": before}},
        "conntrack_result": {
            "changed": bool(plan["drift"]),
            "checked": False,
            "files_only": not policy.get("conntrack_apply", True),
            "before": before,
            "after": after,
            "plan": plan,
        },
    }
    assert conntrack_table([host])[0] == "a"
    conntrack_table([host], planned=True)
    assert conntrack_audit([host])["lines"][1].startswith("a ")
    conntrack_drill_plan(before, {"drill_firewall": True}, "local")
    readings = [{"event": "before", "facts": before, "end": "done"}, {"event": "reload", "facts": after, "end": "done"}]
    assert conntrack_drill_verdict(readings, "a")["table"]


@pytest.mark.parametrize("done", [False, True], ids=["told", "done"])
@given(data=st.data())
def test_relief(done, data):
    facts = data.draw(READ)
    host = {
        "inventory_hostname": "a",
        "__conntrack_before": {"ansible_facts": {"conntrack": facts}},
        "__relieve_after": {"ansible_facts": {"conntrack": facts}},
        "__relieve_census": data.draw(ANSWERED["conntrack_census_info"]),
        "__relieve_expired": data.draw(ANSWERED["conntrack_expire"]),
        "__relieve_raised": {**data.draw(ANSWERED["conntrack_settings"]), "facts": facts},
    }
    assert conntrack_relief([host], done)[0] == "a"
