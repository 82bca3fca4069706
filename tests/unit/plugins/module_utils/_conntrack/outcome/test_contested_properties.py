# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Whatever lines there are: without those that are contested, what is planned is what will be; and they are all that is needed."""

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed; it runs on controllers' Pythons")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.files import SYSCTL
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.assignments import (
    modprobe_lines,
    sysctl_files,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.fold import contested, predict
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.planned import planned, without
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import sysctl
from ansible_collections.headroom.netfilter.tests.unit import examples

MAX, ALIAS, UDP = "net.netfilter.nf_conntrack_max", "net.nf_conntrack_max", "net.netfilter.nf_conntrack_udp_timeout"
BUCKETS = "net.netfilter.nf_conntrack_buckets"
FOLDERS = ("10", "20", "99-conntrack", "99-d", "zz")
LINES = st.builds(
    "{0}{1}{2}".format,
    st.sampled_from(["", "", "-"]),
    st.sampled_from([MAX, ALIAS, UDP, BUCKETS, "net.netfilter.*", "net/nf_*"]),
    st.sampled_from(["=5", "=6", "=7", "=x", ""]),
)
OPTIONS = st.sampled_from(
    [
        "options nf_conntrack hashsize=1024",
        "options nf_conntrack hashsize=512",
        "options nf_conntrack hashsize = 5",
        "options nf_conntrack acct=1",
        'options nf_conntrack dyndbg="+p',
        "install nf_conntrack /bin/true",
        "install nf_conntrack /sbin/x",
        "softdep nf_conntrack pre: x",
    ]
)
WORDS = st.sampled_from(["nf_conntrack.hashsize=1024", "module_blacklist=nf_conntrack", "nf_conntrack.hashsize=y"])
WANTED = {"hashsize": 512, MAX: 5, UDP: 6}
SAID = "{0} = 5\n{1} = 6\n".format(MAX, UDP)


@given(
    st.tuples(*(st.lists(LINES, max_size=4) for _name in FOLDERS)),
    st.tuples(*(st.lists(OPTIONS, max_size=3) for _name in FOLDERS)),
    st.lists(WORDS, max_size=2),
    st.sampled_from(["loaded", "builtin"]),
)
def test_without_what_is_contested_it_will_be_as_planned(settings, options, words, state):
    facts = examples.facts({"state": state})
    told = facts["assignments"]
    told["command_line"] = words
    places = ["/etc/sysctl.d/{0}.conf".format(name) for name in FOLDERS]
    lines = [line for path, rows in zip(places, settings) for line in sysctl.parse(path, "\n".join(rows))]
    told["sysctl"] = sysctl_files(lines, facts, told)
    texts = {"/etc/modprobe.d/{0}.conf".format(name): "\n".join(rows) for name, rows in zip(FOLDERS, options)}
    told["modprobe"] = modprobe_lines(texts, "nf_conntrack", told)

    is_builtin = state == "builtin"
    buckets = "{0} = 512\n".format(BUCKETS) if is_builtin else ""
    made = examples.planned({"state": state})
    contents = dict(examples.contents(made), **{SYSCTL: buckets + SAID})
    if not is_builtin:
        contents["/etc/modprobe.d/nf_conntrack.conf"] = "options nf_conntrack hashsize=512\n"
    future = planned(facts, contents)
    wanted = {"boot": WANTED, "reload": {} if is_builtin else WANTED}
    contests = list(contested(future, wanted))
    gone = [(contest.decision.line.file, contest.decision.line.text) for contest in contests]
    will = predict(without(future, gone))
    for event, keys in wanted.items():
        assert {key: getattr(will, event)[key].value for key in keys} == keys
    # Nothing is contested where it will be as planned anyway.
    there = predict(future)
    as_planned = all(getattr(there, event)[key].value == keys[key] for event, keys in wanted.items() for key in keys)
    assert as_planned == (not contests)
