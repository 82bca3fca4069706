# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Which cure fits a host, by its facts, by made-up censuses and by who needs connection tracking there."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.choosing import (
    BY_DESTINATION,
    BY_STATE,
    Evidence,
    fitting,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack import flows
from ansible_collections.headroom.netfilter.tests.unit import golden
from ansible_collections.headroom.netfilter.tests.unit.examples import NOT_LOADED, facts, planned

TOTAL = 50000
NOT_STALE = {"entries": 0, "share": 0.0, "margin": 0.0, "timeouts": {}}
NEEDED = [{"kind": "rule", "where": "table inet filter", "text": "ct state new accept", "remedy": "remove it"}]
SERVER_DNS = ("server", "udp", 53, "REPLIED")
CLIENT_DNS = ("client", "udp", 53, "REPLIED")
CHECKS = ("client", "tcp", 8080, "TIME_WAIT")
BACKENDS = {"10.0.0.1": 0.5, "10.0.0.2": 0.5}


def census(shares, destinations=(), total=TOTAL, margin=0.005, stale=None):
    """By role, protocol, port and state the share of all; and of each such flow the destinations with their parts of it."""

    def rows(groups):
        return [dict(fields, entries=round(total * share), share=share, margin=margin) for fields, share in groups]

    names = BY_STATE.split("+")
    by_state = [(dict(zip(names, key)), share) for key, share in shares.items()]
    by_destination = [
        (dict(zip(BY_DESTINATION.split("+"), (*key[:3], address))), shares[key] * part)
        for key, parts in dict(destinations).items()
        for address, part in parts.items()
    ]
    return {
        "source": "ctnetlink",
        "total": total,
        "examined": min(total, 20000),
        "exact": margin is None,
        "stale": NOT_STALE if stale is None else stale,
        "groupings": [
            {"group_by": BY_STATE, "top": rows(by_state), "others": 0, "missed": 0},
            {"group_by": BY_DESTINATION, "top": rows(by_destination), "others": 0, "missed": 0},
        ],
    }


def chosen(found, needed_by=tuple(NEEDED), changes=(), asked=()):
    return fitting(Evidence(facts(changes), found, needed_by, planned(changes), dict(asked)))


def named(protocol, port, role, **more):
    return dict(
        {"name": "{0}-{1}-{2}".format(protocol, port, role), "protocol": protocol, "ports": [port], "role": role},
        **more,
    )


DNS = named("udp", 53, "server")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (census({SERVER_DNS: 0.9}), [DNS]),
        (census({SERVER_DNS: 0.9}, margin=None), [DNS]),
        (
            census({SERVER_DNS: 0.45, CLIENT_DNS: 0.47}, {CLIENT_DNS: {"192.0.2.53": 0.95}}),
            [named("udp", 53, "client", networks=["192.0.2.53"]), DNS],
        ),
        # To very many, as of a resolver that asks the servers of all zones.
        (census({SERVER_DNS: 0.45, CLIENT_DNS: 0.47}), [named("udp", 53, "client"), DNS]),
        (
            census(
                {("client", "udp", 53, "UNREPLIED"): 0.6}, {("client", "udp", 53, "UNREPLIED"): {"2001:db8::53": 1}}
            ),
            [named("udp", 53, "client", networks=["2001:db8::53"])],
        ),
        (
            census(
                {("forward", "udp", 514, "UNREPLIED"): 0.4, ("forward", "udp", 514, "REPLIED"): 0.3},
                {("forward", "udp", 514, "REPLIED"): {"192.0.2.1": 1}},
            ),
            None,
        ),
        (
            census({("forward", "udp", 53, "REPLIED"): 0.8}, {("forward", "udp", 53, "REPLIED"): {"192.0.2.1": 1}}),
            [named("udp", 53, "forward", networks=["192.0.2.1"])],
        ),
        (census({("forward", "udp", 53, "REPLIED"): 0.8}), None),
        (census({("server", "udp", 53, "UNREPLIED"): 0.9}), None),
        (census({("translated", "udp", 53, "REPLIED"): 0.9}), None),
        (census({(None, "udp", 53, "REPLIED"): 0.9}), None),
        (census({("local", "udp", 53, "REPLIED"): 0.9}), None),
        (census({("server", "tcp", 53, "ESTABLISHED"): 0.9}), None),
        (census({SERVER_DNS: 0.5}), None),
        (census({SERVER_DNS: 0.9}, total=1000), None),
        (census({("server", "udp", 1000 + port, "REPLIED"): 0.09 for port in range(10)}), None),
    ],
    ids=[
        *("a resolver", "all of it", "forwards to one", "asks everybody", "its own questions", "half of it unanswered"),
        *("through it to one", "through it to any", "a flood", "translated", "addresses unknown", "its own loopback"),
        *("connections", "not surely half", "few entries", "many small flows"),
    ],
)
def test_packets_that_need_no_entry_are_exempt(found, wanted):
    cure = chosen(found)
    assert cure.variables.get("notrack_flows") == wanted
    assert (cure.cure == "exempt") is bool(wanted)


def test_what_it_was_seen_by_is_told():
    assert chosen(census({SERVER_DNS: 0.9})).seen == (
        "udp/53 to this host at least 89 % of 50000 entries, 20000 of them looked at"
    )


@pytest.mark.parametrize(
    "destination",
    ["{{ lookup('pipe', 'id') }}", "10.0.0.1'; id; '", "fe80::1%{{ x }}", "ipv4-0123456789ab", ""],
)
def test_what_is_no_address_comes_into_no_command(destination):
    cure = chosen(census({CLIENT_DNS: 0.9}, {CLIENT_DNS: {destination: 1}}))
    assert cure.variables == {"notrack_flows": [named("udp", 53, "client")]}


@pytest.mark.parametrize(
    ("has", "wanted"),
    [
        ([], [DNS]),
        (None, [DNS]),
        ([{"name": "ntp", "protocol": "udp", "ports": [123], "role": "server"}], None),
        ([dict(DNS, name="dns", ports=["53", 853])], []),
        (["nonsense"], None),
    ],
    ids=["none", "unset", "another", "the same", "no flows"],
)
def test_the_flows_that_a_host_has_stay(has, wanted):
    found = chosen(census({SERVER_DNS: 0.9}), asked={"notrack_flows": has}).variables["notrack_flows"]
    assert found == ([*has, DNS] if wanted is None else [*(has or []), *wanted])


TIMED = named("tcp", 8080, "client", networks=sorted(BACKENDS), timeouts={"tcp_time_wait": 10})


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (census({CHECKS: 0.8}, {CHECKS: BACKENDS}), [TIMED]),
        (
            census({("server", "tcp", 80, "TIME_WAIT"): 0.7}),
            [named("tcp", 80, "server", timeouts={"tcp_time_wait": 10})],
        ),
        (census({("client", "tcp", 8080, "ESTABLISHED"): 0.8}), None),
        (census({CHECKS: 0.3, ("client", "tcp", 8080, "ESTABLISHED"): 0.6}), None),
        (census({("translated", "tcp", 8080, "TIME_WAIT"): 0.8}), None),
    ],
    ids=["health checks", "a web server", "connections in use", "mostly in use", "translated"],
)
def test_connections_that_are_over_are_shortened(found, wanted):
    cure = chosen(found)
    assert cure.variables.get("notrack_timeouts") == wanted
    assert (cure.cure == "shorten") is bool(wanted)


@pytest.mark.parametrize(
    ("changes", "asked", "timeouts"),
    [
        ({"timeouts": {"tcp_time_wait": 10}}, {}, None),
        ({}, {"notrack_timeouts": [TIMED]}, []),
        ({}, {"notrack_timeouts": [TIMED, DNS]}, [DNS]),
    ],
    ids=["everywhere", "for this flow", "and another"],
)
def test_what_is_short_already_is_exempt(changes, asked, timeouts):
    cure = chosen(census({CHECKS: 0.8}, {CHECKS: BACKENDS}), changes=changes, asked=asked)
    assert cure.cure == "exempt"
    assert cure.variables["notrack_flows"] == [named("tcp", 8080, "client", networks=sorted(BACKENDS))]
    assert cure.variables.get("notrack_timeouts") == timeouts


STALE = {"entries": 30000, "share": 0.6, "margin": 0.01, "timeouts": {"tcp_established": {}}}


def test_entries_from_before_are_shortened():
    cure = chosen(census({}, stale=STALE))
    assert (cure.cure, cure.variables) == (
        "shorten",
        {"conntrack_expire_existing": True, "conntrack_expire_most": 30500},
    )
    assert "30000 of 50000 entries" in cure.seen
    assert "tcp_established" in cure.seen


@pytest.mark.parametrize(
    ("changes", "needed_by", "cure"),
    [
        ({}, (), "unload"),
        ({}, NEEDED, "grow"),
        ({}, None, "grow"),
        ({"state": "builtin", "table.count": 0}, (), "none"),
        ({"state": "builtin"}, (), "grow"),
        (NOT_LOADED, None, "none"),
        ({"state": "absent"}, None, "none"),
    ],
    ids=["nobody", "a rule", "not known", "built in", "built in, and in use", "not loaded", "absent"],
)
def test_what_nobody_needs_is_unloaded(changes, needed_by, cure):
    found = chosen(census({SERVER_DNS: 0.01}), needed_by, changes)
    assert found.cure == cure
    assert found.variables == {}


def test_a_resolver_that_nobody_filters_loses_all_of_it():
    assert chosen(census({SERVER_DNS: 0.9}), needed_by=()).cure == "unload"


def test_otherwise_the_plan():
    cure = chosen(None, None)
    assert cure.cure == "grow"
    assert cure.seen.startswith("limit 8192 -> 131072; not as planned: hashsize, ")
    assert "was not looked at" in cure.why
    assert "was not looked at" not in chosen(census({})).why


def test_a_plan_that_is_refused_is_no_cure():
    refused = planned({}, max=2**30)
    cure = fitting(Evidence(facts(), None, None, refused))
    assert cure.cure == "none"
    assert cure.seen.startswith("tune is refused here: conntrack_max: 1073741824")


def test_as_planned():
    cure = fitting(Evidence(facts(), census({}), NEEDED, planned({})._replace(drift=[], converged=True)))
    assert (cure.cure, cure.seen) == ("none", "limit 8192, as planned")


@pytest.mark.parametrize(
    "found",
    [
        census({SERVER_DNS: 0.45, CLIENT_DNS: 0.47}, {CLIENT_DNS: {"192.0.2.53": 0.6, "2001:db8::53": 0.4}}),
        census({CHECKS: 0.5, ("server", "tcp", 80, "TIME_WAIT"): 0.4}, {CHECKS: BACKENDS}),
    ],
    ids=["exempt", "shorten"],
)
def test_the_role_takes_what_is_proposed(found):
    variables = chosen(found).variables
    read = flows.read({name[len("notrack_") :]: value for name, value in variables.items()})
    assert len(read.flows + read.timed) == 2


@pytest.mark.parametrize("name", golden.NAMES)
@pytest.mark.parametrize("needed_by", [None, (), NEEDED], ids=["not known", "nobody", "a rule"])
def test_every_golden_host_has_one(name, needed_by):
    known = golden.load(name, "facts")["root"]
    is_live = known["state"] in ("loaded", "builtin")
    for found in (None, census({}), census({SERVER_DNS: 0.9})):
        cure = fitting(Evidence(known, found if is_live else None, needed_by if is_live else None))
        assert cure.cure in (
            ("none",)
            if not is_live
            else ("unload",)
            if needed_by == () and known["state"] == "loaded"
            else ("exempt", "none")
        )
        assert cure.seen
