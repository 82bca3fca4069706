# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The filter conntrack_input_errors: each finding once, with its hosts."""

import pytest
from jinja2 import StrictUndefined

from ansible_collections.headroom.netfilter.plugins.filter.conntrack_input_errors import FilterModule

conntrack_input_errors = FilterModule().filters()["conntrack_input_errors"]
MAX = "conntrack_max: -1 will not do: expected a whole number of entries from 1 to 2147483647"
HEADROOM = "conntrack_headroom: 'x' will not do: expected a factor from 1 to 100"
NEAR = "conntrack_head_room: there is no such variable; did you mean conntrack_headroom?"


def host(name, **variables):
    return dict(variables, inventory_hostname=name, ansible_host="192.0.2.1")


TREE = (
    "conntrack_root: '/srv/image' will not do: a tree is only read, by the module conntrack_facts and the playbook "
    "headroom.netfilter.audit; for a machine leave it unset (a)"
)


@pytest.mark.parametrize(
    ("root", "playbook", "found"),
    [
        ("/srv/image", (), [TREE]),
        ("/srv/image", ("audit_fail_on", "conntrack_root"), []),
        ("/", (), []),
        ("", (), []),
    ],
    ids=["a tree", "where trees are read", "a machine", "unset"],
)
def test_a_tree_is_only_read(root, playbook, found):
    assert conntrack_input_errors([host("a", conntrack_root=root)], playbook) == found


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        ([], []),
        ([host("a"), host("b", conntrack_max=100000)], []),
        ([host("a", conntrack_max=-1)], [MAX + " (a)"]),
        ([host("a", conntrack_max=-1), host("b"), host("c", conntrack_max=-1)], [MAX + " (a, c)"]),
        (
            [host("a", conntrack_max=-1, conntrack_headroom="x"), host("b", conntrack_headroom="x")],
            [MAX + " (a)", HEADROOM + " (a, b)"],
        ),
        ([host("a", conntrack_hosts="web", conntrack_nonsense=-1)], []),
        (
            [host("a", conntrack_head_room=2), host("b", conntrack_head_room="x", conntrack_max=-1)],
            [NEAR + " (a, b)", MAX + " (b)"],
        ),
        ([host("a", audit_fail_no="info", audit_file="x")], []),
    ],
    ids=[
        "no hosts",
        "good",
        "one",
        "grouped",
        "two findings",
        "variables of others",
        "nearly a name",
        "of no playbook",
    ],
)
def test_findings(hosts, found):
    assert conntrack_input_errors(hosts) == found


@pytest.mark.parametrize(
    "value",
    [StrictUndefined(name="nothing"), {"udp": StrictUndefined(name="nothing")}, [StrictUndefined(name="nothing")]],
    ids=["alone", "in a mapping", "in a list"],
)
def test_what_is_undefined_is_told_by_its_variable_and_host(value):
    hosts = [host("a"), host("b", conntrack_timeouts=value, conntrack_max=-1)]
    said = "conntrack_timeouts: cannot be made out: 'nothing' is undefined (b)"
    assert conntrack_input_errors(hosts) == [said, MAX + " (b)"]


def test_variables_of_the_playbook():
    own = {"audit_fail_on": None}
    said = "audit_fail_no: there is no such variable; did you mean audit_fail_on? (a)"
    assert conntrack_input_errors([host("a", audit_fail_no="info"), host("b", audit_fail_on="info")], own) == [said]
    assert conntrack_input_errors([host("a", audit_fail_no="info", conntrack_max=-1)], ["audit_fail_on"]) == [
        MAX + " (a)",
        said,
    ]


def test_only_our_variables_are_looked_up():
    """A host's variables are templated when they are read, and their names are not."""

    class Variables(dict):
        def __getitem__(self, name):
            assert name in ("conntrack_max", "inventory_hostname")
            return super().__getitem__(name)

        def get(self, name, default=None):
            raise AssertionError

        def items(self):
            raise AssertionError

        values = items

    given = Variables(host("a", conntrack_max=-1, conntrack_head_room="{{ nothing }}", conntrack_hosts="{{ nothing }}"))
    assert conntrack_input_errors([given]) == [MAX + " (a)", NEAR + " (a)"]


def test_what_a_host_said_of_itself_keeps_no_other_host_from_its_plan():
    said = {"conntrack_maxx": 1, "conntrack_max": "much"}
    hostile = {"inventory_hostname": "web02", "ansible_facts": dict(said, more=1), **said}
    assert conntrack_input_errors([{"inventory_hostname": "web01", "conntrack_max": 300000}, hostile]) == []
    # The same of the caller's own.
    assert len(conntrack_input_errors([dict(hostile, ansible_facts={})])) == 2
