# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Configurations of firewalls as they are found on hosts: what is told of them, and what the line that is edited makes of it.

Each folder beside this file that is named here is a host: ``root/``, and in ``case.json`` the kernel's release, its buckets and files
that linters refuse inside tests. Its table has 1048576 entries at most, 400000 in use, and a load would leave another.
"""

import json
import os
import shutil

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change import request, writes
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.risks import findings
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import make as plan
from ansible_collections.headroom.netfilter.tests.unit.examples import policy_of

HERE = os.path.dirname(os.path.abspath(__file__))
FIREWALLD, IPTABLES = "/etc/firewalld/firewalld.conf", "/etc/sysconfig/iptables-config"
NO, OFF = "CleanupModulesOnExit=no", 'IPTABLES_MODULES_UNLOAD="no"'


class Host(WritableHost):
    def machine(self):
        return "x86_64"

    def page_size(self):
        return 4096

    def is_root(self):
        return True


def lay_out(case, where):
    with open(os.path.join(HERE, case, "case.json"), encoding="utf-8") as source:
        said = json.load(source)
    shutil.copytree(os.path.join(HERE, case, "root"), where)
    kernel = "/proc/sys/net/netfilter/nf_conntrack_"
    texts = {
        kernel + "max": "1048576\n",
        kernel + "count": "400000\n",
        kernel + "buckets": "{}\n".format(said["buckets"]),
        "/sys/module/nf_conntrack/parameters/hashsize": "{}\n".format(said["buckets"]),
        "/proc/sys/net/core/netdev_max_backlog": "1000\n",
        "/proc/sys/kernel/osrelease": said["release"] + "\n",
        "/proc/modules": "nf_conntrack 180224 1 nft_ct, Live 0x0000000000000000\n",
        "/proc/meminfo": "MemTotal:       8388608 kB\nMemAvailable:   5734400 kB\n",
        "/sys/devices/system/cpu/online": "0-3\n",
        "/usr/lib/systemd/systemd-sysctl": "",
    }
    for path, text in dict(texts, **said["files"]).items():
        os.makedirs(os.path.dirname(where + path), exist_ok=True)
        with open(where + path, "w", encoding="utf-8") as target:
            target.write(text)
    return Host(where)


def read(host):
    """What is told of the firewall, of a load, and planned of lines."""
    facts = gather(host, ["all"])
    lost = [one.seen for one in findings(facts) if one.id == "lost-at-reload"]
    planned = plan.make(facts, policy_of(), None)
    drift = [(one.name, one.wanted) for one in planned.drift if one.kind == "service"]
    return facts["services"], lost, drift, planned.lines


@pytest.mark.parametrize(
    ("case", "service", "said", "unloads", "line"),
    [
        (
            "03_firewalld_first_of_two",
            "firewalld",
            ("cleanup_modules_on_exit", "yes"),
            "firewalld 1.3.3",
            (FIREWALLD, NO),
        ),
        ("04_firewalld_09_backport", "firewalld", ("cleanup_modules_on_exit", "no"), None, None),
        ("05a_iptables_config_silent", "iptables", ("modules_unload", None), "iptables", (IPTABLES, OFF)),
        ("05b_iptables_script_silent", "iptables", ("modules_unload", "yes"), None, None),
    ],
)
def test_a_restart_of_its_firewall(case, service, said, unloads, line, tmp_path):
    host = lay_out(case, str(tmp_path / "root"))
    services, lost, drift, lines = read(host)
    assert services[service][said[0]] == said[1]
    assert services[service]["unloads"] is bool(unloads)
    # A load would leave another table here whoever unloads the module.
    assert len(lost) == 1
    assert ("unloads the module at each restart" in lost[0]) is bool(unloads)
    assert str(unloads or "") + " unloads" in lost[0] or not unloads
    assert drift == ([line] if line else [])
    for write in writes.writes(host, request.read({"lines": lines})):
        with open(host.path(write.path), "wb") as target:
            target.write(write.after.content)
    services, lost, drift, lines = read(host)
    assert (services[service]["unloads"], drift, lines) == (False, [], [])
    assert "unloads" not in lost[0]
