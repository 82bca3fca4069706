# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The module conntrack_rollback, run for real against a kernel in memory."""

import pytest

pytest.importorskip("ansible.module_utils.basic", reason="ansible-core is not installed")

from ansible_collections.headroom.netfilter.plugins.modules import conntrack_rollback, conntrack_settings
from ansible_collections.headroom.netfilter.tests.unit.fakes import MAX, FakeKernel

CHANGE = {"max": 262144, "buckets": 131072, "files": [{"path": "/etc/sysctl.d/99-conntrack.conf", "content": "a\n"}]}


@pytest.mark.parametrize("to", [None, "first"], ids=["the last", "first"])
def test_a_change_is_taken_back_once(run_module, to):
    host = FakeKernel()
    made = run_module(conntrack_settings, host, **CHANGE)
    checked = run_module(conntrack_rollback, host, True, to=to)
    assert host.values[MAX] == 262144
    result = run_module(conntrack_rollback, host, to=to, who="ann")
    assert (result["changed"], result["undone"], result["not_restored"]) == (True, [made["id"]], [])
    assert (checked["changed"], checked["undone"], checked["diff"]) == (True, result["undone"], result["diff"])
    assert (host.values[MAX], host.exists("/etc/sysctl.d/99-conntrack.conf")) == (65536, False)
    again = run_module(conntrack_rollback, host, to=to)
    assert (again["changed"], again["undone"], again["id"]) == (False, [], None)


@pytest.mark.parametrize(
    ("host", "options", "said"),
    [
        (FakeKernel(), {"to": "x"}, "to: x: there is no such change; expected none"),
        (FakeKernel(root=False), {}, "root is needed"),
    ],
    ids=["no such change", "not root"],
)
def test_refused(run_module, host, options, said):
    result = run_module(conntrack_rollback, host, **options)
    assert result["failed"] is True
    assert said in result["msg"]


def test_what_is_returned_is_what_is_documented(run_module):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    documented = yaml.safe_load(conntrack_rollback.RETURN)
    result = run_module(conntrack_rollback, FakeKernel())
    of_every_module = {"changed", "diff", "invocation"}
    assert set(result) - of_every_module == {name for name, said in documented.items() if said["returned"] != "failure"}
