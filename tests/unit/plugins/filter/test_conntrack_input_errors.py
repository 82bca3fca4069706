# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The filter conntrack_input_errors: each finding once, with its hosts."""

import pytest

from ansible_collections.headroom.netfilter.plugins.filter.conntrack_input_errors import FilterModule

conntrack_input_errors = FilterModule().filters()["conntrack_input_errors"]
MAX = "conntrack_max: -1 will not do: expected a whole number of entries from 1 to 2147483647"
HEADROOM = "conntrack_headroom: 'x' will not do: expected a factor from 1 to 100"


def host(name, **variables):
    return dict(variables, inventory_hostname=name, ansible_host="192.0.2.1")


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
    ],
    ids=["no hosts", "good", "one", "grouped", "two findings", "variables of others"],
)
def test_findings(hosts, found):
    assert conntrack_input_errors(hosts) == found


def test_only_our_variables_are_looked_up():
    """A host's variables are templated when they are read."""

    class Variables(dict):
        def __getitem__(self, name):
            assert name.startswith("conntrack_") or name == "inventory_hostname"
            return super().__getitem__(name)

        def __iter__(self):
            raise AssertionError("all variables are looked up")

    assert conntrack_input_errors([Variables(host("a", conntrack_max=-1))]) == [MAX + " (a)"]
