# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The module conntrack_notrack, run for real on a host that has nothing it needs; what it does where it has is asked of real ones."""

import pytest

pytest.importorskip("ansible.module_utils.basic", reason="ansible-core is not installed")

from ansible_collections.headroom.netfilter.plugins.modules import conntrack_notrack
from ansible_collections.headroom.netfilter.tests.unit.fakes import FakeKernel

DNS = {"name": "dns", "protocol": "udp", "ports": [53], "role": "server"}


@pytest.mark.parametrize(
    "options", [{}, {"flows": []}, {"state": "absent"}, {"flows": [DNS], "state": "absent"}], ids=repr
)
@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_nothing_is_asked_for(run_module, options, check_mode):
    result = run_module(conntrack_notrack, FakeKernel(), check_mode, **options)
    assert (result["changed"], result["state"], result["flows"], result["backend"]) == (False, "none", [], "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"flows": [dict(DNS, ports=[0])]}, "notrack_flows[0].ports: [0] will not do"),
        ({"flows": [DNS, DNS]}, "dns: this name is given twice"),
        ({"confirm_seconds": "soon"}, "notrack_confirm_seconds: 'soon' will not do"),
        ({"state": "gone"}, "notrack_state: 'gone' will not do"),
        ({"confirm": "20261125T101500Z-0a1b2c"}, "confirm: 20261125T101500Z-0a1b2c: there is no such change"),
        ({"flows": [DNS]}, "/run/systemd/system: it is not there"),
        ({"flows": [DNS]}, "neither nft nor iptables is there"),
        ({"flows": [DNS], "backend": "nftables"}, "nft is not there, or this kernel has no nf_tables"),
        ({"timeouts": [dict(DNS, timeouts={"udp": 5})]}, "timeouts of single flows need nftables"),
    ],
    ids=lambda value: str(value)[:60],
)
@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_refused_before_anything_is_changed(run_module, options, said, check_mode):
    host = FakeKernel()
    result = run_module(conntrack_notrack, host, check_mode, **options)
    assert result["failed"] is True
    assert said in result["msg"]
    assert not host.exists("/etc/headroom")


def test_root_is_needed(run_module):
    assert "root is needed" in run_module(conntrack_notrack, FakeKernel(root=False), flows=[DNS])["msg"]


def test_what_is_returned_is_what_is_documented(run_module):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    documented = yaml.safe_load(conntrack_notrack.RETURN)
    result = run_module(conntrack_notrack, FakeKernel())
    of_every_module = {"changed", "diff", "invocation"}
    assert set(result) - of_every_module == {name for name, said in documented.items() if said["returned"] != "failure"}
