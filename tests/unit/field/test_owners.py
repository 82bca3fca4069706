# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Hosts that people have reported, as far as it matters who else writes, and what the logs say: trees, and what is true of them."""

import os
import shutil

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.risks import findings
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.tree import opened
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import FACTS
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import planned

HERE = os.path.dirname(os.path.abspath(__file__))
PREFIX = "net.netfilter.nf_conntrack_"


class Told:
    """Facts of a case, with scripts and links beside its tree, and its findings by id."""

    def __init__(self, root, case, scripts=None, links=None):
        self.root = root
        shutil.copytree(os.path.join(HERE, case), root)
        for path, text in (scripts or {}).items():
            self.write(path, "#!/bin/sh\n" + text)
            os.chmod(os.path.join(root, path), 0o755)
        for path, target in (links or {}).items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            os.symlink(target, os.path.join(root, path))
        self.read()

    def write(self, path, text):
        os.makedirs(os.path.dirname(os.path.join(self.root, path)), exist_ok=True)
        with open(os.path.join(self.root, path), "w", encoding="utf-8") as target:
            target.write(text)

    def read(self):
        self.facts = FACTS(gather(opened(self.root), ["all"]))
        self.found = {finding.id: finding for finding in findings(self.facts)}

    def will_be(self, event, key):
        value = self.facts["outcome"][event][key if key == "hashsize" else PREFIX + key]
        return value["value"], value["source"]

    def owners(self):
        return {owner["name"] for owner in self.facts["owners"]}


@pytest.fixture
def told(tmp_path):
    def of(case, **more):
        return Told(str(tmp_path / case), case, **more)

    return of


def test_proxmox(told):
    """Its firewall sets 262144 every ten seconds, whatever sysctl.d says."""
    host = told("01-pve-firewall")
    # A name that not every file system has.
    host.write("run/systemd/units/invocation:pve-firewall.service", "")
    host.read()
    every = "pve-firewall: every 10 s, /etc/pve/local/host.fw"
    assert host.will_be("boot", "max") == (262144, every + ":4: nf_conntrack_max")
    assert host.will_be("boot", "hashsize")[0] == 65536
    assert host.will_be("boot", "tcp_timeout_established") == (7875, every + ":5: nf_conntrack_tcp_timeout_established")
    assert host.found["lost-at-boot"].severity == "critical"
    assert "limit 1048576 -> 262144 (pve-firewall" in host.found["lost-at-boot"].seen
    # What is planned is refused until host.fw says it, and where.
    (refusal,) = [one for one in planned(host.facts, Policy(max=1048576)).refusals if "nf_conntrack_max" in one]
    assert "set nf_conntrack_max in /etc/pve/local/host.fw, a multiple of 8192 from 262144 on" in refusal


def test_sysctl_p_in_rc_local_wins(told):
    host = told("02a-rclocal-sysctl-p-wins", scripts={"etc/rc.local": "sysctl -p\n"})
    assert host.will_be("boot", "max") == (131072, "rc.local: sysctl -p: /etc/sysctl.conf:1")
    assert host.found["lost-at-boot"].severity == "critical"
    # The line that decides is the one to take over.
    plan = planned(host.facts, Policy(takeover=True, max=1048576))
    assert plan.refusals == []
    assert [(line["path"], line["found"]) for line in plan.lines] == [
        ("/etc/sysctl.conf", "net.netfilter.nf_conntrack_max=131072")
    ]


def test_sysctl_p_in_rc_local_saves(told):
    """The module comes after sysctl.d, and rc.local after the module."""
    links = {"etc/rc.local": "rc.d/rc.local", "etc/sysctl.d/99-sysctl.conf": "../sysctl.conf"}
    case = "02b-rclocal-sysctl-p-saves"
    host = told(case, scripts={"etc/rc.d/rc.local": "/sbin/sysctl -p\n"}, links=links)
    assert host.will_be("boot", "max") == (655360, "rc.local: /sbin/sysctl -p: /etc/sysctl.conf:1")
    assert "limit" not in host.found["lost-at-boot"].seen


@pytest.mark.parametrize(
    ("command", "value"),
    [
        ("sysctl --system", 131072),
        ("sysctl --load=/etc/sysctl.conf", 131072),
        ("sudo /sbin/sysctl -q -p /etc/sysctl.conf", 131072),
        ("sh -c 'sleep 5 && sysctl -p'", 131072),
        ("sysctl -p /etc/*.conf", 131072),
        ("sysctl -p /etc/sysctl.d/99-conntrack.conf", 1048576),
        ("sysctl -p /etc/none.conf", 1048576),
        ("/usr/lib/systemd/systemd-sysctl --prefix=/net/netfilter", 1048576),
        ("docker run --rm x sysctl -p", 1048576),
        ("ip netns exec blue sysctl -p", 1048576),
        ("echo sysctl -p", 1048576),
        ("# sysctl -p", 1048576),
        ("sysctl -a", 1048576),
    ],
)
@pytest.mark.parametrize("place", ["etc/rc.local", "etc/network/if-up.d/net", "etc/cron.d/reboot", "unit", "drop-in"])
def test_commands_that_apply_files(told, place, command, value):
    case = "02a-rclocal-sysctl-p-wins"
    if place == "etc/cron.d/reboot":
        host = told(case)
        host.write(place, "@reboot root " + command + "\n")
    elif place in ("unit", "drop-in"):
        wants = {"etc/systemd/system/multi-user.target.wants/net.service": "../net.service"}
        host = told(case, links=wants)
        path = "net.service" if place == "unit" else "net.service.d/more.conf"
        line = command if command.startswith("#") else "ExecStartPost=-" + command
        host.write("etc/systemd/system/" + path, "[Service]\n" + line + "\n")
    else:
        host = told(case, scripts={place: command + "\n"})
    host.read()
    # What a shell does to a pattern, systemd does not.
    expected = 1048576 if "*" in command and place in ("unit", "drop-in") else value
    assert host.will_be("boot", "max")[0] == expected


def test_what_is_applied_again_is_what_is_planned(told):
    """Of the role's own file that a script applies again, the plan's text counts, and not what is there before it."""
    host = told("02a-rclocal-sysctl-p-wins", scripts={"etc/rc.local": "sysctl -p /etc/sysctl.d/99-conntrack.conf\n"})
    plan = planned(host.facts, Policy(max=2097152))
    assert [one for one in plan.refusals if "rc.local" in one] == []
    assert plan.expected["boot"][PREFIX + "max"] == 2097152


@pytest.mark.parametrize(
    ("unit", "links", "starts"),
    [
        ("net.service.d/a.conf", {"multi-user.target.wants/net.service": "../net.service"}, True),
        ("net.service.d/a.conf", {"multi-user.target.wants/kube.service": "../net.service"}, True),
        ("net.service.d/a.conf", {}, False),
        ("net.service.d/a.conf.bak", {"multi-user.target.wants/net.service": "../net.service"}, None),
        ("net@.service", {"multi-user.target.wants/net@one.service": "../net@.service"}, True),
        ("net@.service.d/a.conf", {"multi-user.target.wants/net@one.service": "../net@.service"}, True),
        ("net.service", {"timers.target.wants/net.timer": "../net.timer"}, True),
    ],
    ids=["drop-in", "alias", "not enabled", "left behind", "instance", "drop-in of a template", "timer"],
)
def test_units_and_what_is_dropped_into_them(told, unit, links, starts):
    links = {"etc/systemd/system/" + path: target for path, target in links.items()}
    host = told("02a-rclocal-sysctl-p-wins", links=links)
    host.write(
        "etc/systemd/system/" + unit, "[Service]\nExecStart=/sbin/sysctl -w net.netfilter.nf_conntrack_max=70000\n"
    )
    host.read()
    assert [owner["at_boot"] for owner in host.facts["owners"]] == ([] if starts is None else [starts])


def test_a_drop_in_of_k3s(told):
    links = {"etc/systemd/system/multi-user.target.wants/k3s.service": "../k3s.service"}
    host = told("10-k3s-dropin-execstartpost", links=links)
    path = "/etc/systemd/system/k3s.service.d/conntrack-fix.conf:2"
    assert host.will_be("boot", "max")[0] == 1048576
    assert path in host.will_be("boot", "max")[1]
    assert host.found["lost-at-boot"].severity == "critical"


def test_words_that_set_nothing(told):
    line = "/sbin/sysctl -w net.netfilter.nf_conntrack_max = 196608\n"
    host = told("14-sysctl-w-blanks", scripts={"etc/rc.local": line})
    assert host.owners() == set()
    assert host.will_be("boot", "max") == (262144, "kernel default")
    # As one word it sets, to procps 4 alone.
    host.write("etc/rc.local", "#!/bin/sh\n" + line.replace("net.n", "'net.n").replace("196608", "196608'"))
    host.read()
    assert host.will_be("boot", "max")[0] is None
    # Without a blank before = to all of them.
    host.write("etc/rc.local", "#!/bin/sh\n" + line.replace("net.n", "'net.n").replace(" = 196608", "= 196608'"))
    host.read()
    assert host.will_be("boot", "max")[0] == 196608


def test_aks(told):
    """What node images put after the role's own file wins."""
    host = told("09-aks-999-sysctl")
    assert host.will_be("boot", "max") == (1048570, "/etc/sysctl.d/999-sysctl-aks.conf:2")
    assert "kube-proxy" in host.owners()


def test_lines_with_a_dash_and_the_rule_of_the_manual(told):
    host = told("19-mistgate-dash-udev")
    for event in ("boot", "reload"):
        assert host.will_be(event, "max") == (262144, "/etc/sysctl.d/90-mistgate.conf:1")
    assert not {"lost-at-boot", "lost-at-reload", "owners-disagree"} & set(host.found)


def test_a_credential_of_systemd_sysctls_service(told):
    """It is read after all files at a boot, and not when udev calls systemd-sysctl."""
    host = told("19-mistgate-dash-udev")
    host.write("usr/lib/systemd/system/systemd-sysctl.service", "[Service]\nImportCredential=sysctl.*\n")
    host.write("etc/modules-load.d/first.conf", "nf_conntrack\n")
    host.write("etc/credstore/sysctl.extra", "net.netfilter.nf_conntrack_max = 70000\n")
    host.read()
    assert host.will_be("boot", "max") == (70000, "/etc/credstore/sysctl.extra:1")
    assert host.will_be("reload", "max") == (262144, "/etc/sysctl.d/90-mistgate.conf:1")
    # As the role's own file it comes before it.
    (refusal,) = [one for one in planned(host.facts, Policy(max=262144)).refusals if "sysctl.extra" in one]
    assert "nf_conntrack_max: 70000 after the next boot" in refusal


@pytest.mark.parametrize(
    ("case", "full", "suppressed"), [("06-busybox-syslog", 2, 83), ("24-log-journal-short-unix", 4, 0)]
)
def test_what_logs_say(told, case, full, suppressed):
    host = told(case)
    assert (host.facts["log"]["table_full"], host.facts["log"]["suppressed"]) == (full, suppressed)
    assert host.found["dropped-table-full"].severity == "warning"
