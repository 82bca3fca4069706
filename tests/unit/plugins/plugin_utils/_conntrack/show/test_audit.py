# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The findings of a fleet as lines, worst first, and when they fail a run."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.catalogue import Finding
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.risks import findings
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.audit import failing, lines, worst
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.cures import Told
from ansible_collections.headroom.netfilter.tests.unit.examples import NOT_LOADED, facts

BAD = Finding("lost-at-boot", "critical", "limit 262144 -> 8192", "It matters.", "Persist it.")
POOR = Finding("early-drop", "warning", "3 flows", "It matters.", "Raise it.")
FAIR = Finding("unreadable", "info", "1 path", "It matters.", "Use root.")
OUTCOME = {
    "boot": {"net.netfilter.nf_conntrack_max": {"value": 8192, "source": "kernel default"}},
    "reload": {"net.netfilter.nf_conntrack_max": {"value": 65536, "source": "8 x hashsize"}},
}


def test_a_host_and_what_was_found_there():
    host = facts({"table.max": 262144, "table.usage": 0.933884, "outcome": OUTCOME})
    assert lines([("web01", host, [BAD, FAIR])]) == [
        "host      worst  findings  in use   limit  after reload  after boot",
        "web01  critical         2  93.4 %  262144         65536        8192",
        "  critical lost-at-boot: limit 262144 -> 8192",
        "    It matters.",
        "    -> Persist it.",
        "  info unreadable: 1 path",
        "    It matters.",
        "    -> Use root.",
    ]


@pytest.mark.parametrize("host", [facts(NOT_LOADED), {"state": "absent"}, {}], ids=["loadable", "absent", "nothing"])
def test_what_is_not_known_is_a_dash(host):
    usage = "1.2 %" if host.get("table") else "-"
    assert lines([("a", host, [])])[1].split() == ["a", "none", "0"] + usage.split() + ["-", "-", "-"]


def test_worst_first_then_by_number_and_name():
    hosts = [
        ("quiet", {}, []),
        ("told", {}, [FAIR]),
        ("b", {}, [POOR]),
        ("a", {}, [POOR._replace(seen="4 flows")]),
        ("more", {}, [POOR, FAIR]),
        ("worst", {}, [BAD]),
    ]
    said = [line.split()[0] for line in lines(hosts)[1:] if line and not line.startswith(" ")]
    assert said == ["worst", "more", "a", "b", "told", "quiet"]


def test_hosts_with_the_same_findings_share_them():
    said = lines([("c", {}, [FAIR]), ("a", {}, [BAD]), ("b", {}, [FAIR]), ("d", {}, [])])
    assert [line.split()[0] if line else "" for line in said] == (
        ["host", "a", "critical", "It", "->", ""] + ["b", "c", "info", "It", "->", ""] + ["d"]
    )


def test_no_hosts_no_lines():
    assert lines([]) == []


ROLE = "ansible ns1 -i INVENTORY -m ansible.builtin.include_role -a name=headroom.netfilter.notrack"


def test_which_cure_fits_stands_behind_each_host_and_what_brings_it_below_all():
    cures = [
        Told("ns1", "exempt", "udp/53 to this host at least 89 %", "It takes no entry.", ROLE, {}),
        Told("web1", "none", "limit 65536", "It holds.", "", {}),
    ]
    assert lines([("web1", {}, []), ("ns1", {}, [FAIR])], cures) == [
        "host  worst  findings  in use  limit  after reload  after boot  cure",
        "ns1    info         1       -      -             -           -  exempt",
        "  info unreadable: 1 path",
        "    It matters.",
        "    -> Use root.",
        "",
        "web1   none         0       -      -             -           -  none",
        "",
        "Which cure fits, by what was seen: decide, then run",
        "",
        "ns1: exempt: udp/53 to this host at least 89 %",
        "    It takes no entry.",
        "    -> " + ROLE,
    ]


def test_hosts_of_which_the_same_is_said_share_a_cure_and_its_command():
    tune = "ansible-playbook headroom.netfilter.tune -i INVENTORY -e conntrack_hosts="
    cures = [
        Told(name, "grow", "limit {0}".format(limit), "It has to hold.", tune + name, {})
        for name, limit in [("a", 1), ("b", 2), ("c", 1)]
    ]
    said = lines([(name, {}, []) for name in "abc"], cures)
    assert [line for line in said if ": grow" in line or "->" in line] == [
        "a, c: grow: limit 1",
        "    -> {0}a,c".format(tune),
        "b: grow: limit 2",
        "    -> {0}b".format(tune),
    ]


def test_where_nothing_is_to_be_brought_nothing_is_said_of_it():
    assert lines([("web1", {}, [])], [Told("web1", "none", "limit 65536", "It holds.", "", {})])[2:] == []


def test_long_sentences_are_wrapped_and_paths_are_not():
    path = "/etc/sysctl.d/" + "x" * 100
    said = lines([("a", {}, [BAD._replace(seen="word " * 40 + path, why="word " * 40, remedy="word " * 40)])])[2:]
    assert [line for line in said if len(line) > 88] == ["    " + path]
    assert sum(line.count("word") for line in said) == 120
    heads = ("  critical lost-at-boot: word", "    word", "    -> word", "       word", "    " + path)
    assert all(line.startswith(heads) for line in said)


def test_lines_of_real_findings_fit_a_terminal():
    host = facts({"table.count": 8000, "counters": {"drop": 5, "early_drop": 6}, "outcome": OUTCOME})
    assert all(len(line) <= 88 for line in lines([("db01.example.org", host, findings(host))]))


@pytest.mark.parametrize(
    ("found", "severity"),
    [([], None), ([FAIR], "info"), ([FAIR, POOR], "warning"), ([POOR, BAD, FAIR], "critical")],
    ids=["none", "info", "warning", "critical"],
)
def test_the_worst(found, severity):
    assert worst(found) == severity


@pytest.mark.parametrize(
    ("threshold", "found"),
    [("critical", [BAD]), ("warning", [BAD, POOR]), ("info", [BAD, POOR, FAIR]), ("never", [])],
)
def test_what_fails(threshold, found):
    everything = [BAD, POOR, FAIR]
    assert failing(everything, threshold) == found
    assert [one for one in everything if failing([one], threshold)] == found
    assert failing([], threshold) == []


@pytest.mark.parametrize("word", ["Critical", "error", "", None, True, ["critical"]], ids=repr)
def test_another_word_is_refused(word):
    with pytest.raises(PolicyError) as refused:
        failing([], word)
    assert refused.value.problems == [
        "audit_fail_on: {0!r} will not do: expected one of critical, warning, info, never".format(word)
    ]
