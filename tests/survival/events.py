# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What happens to hosts: which firewall is set up before the recipe, and what is done to it afterwards. Bash, run on a guest."""

from __future__ import annotations

from typing import NamedTuple

FIREWALLD_RUNS = 'until [ "$(firewall-cmd --state 2>&1)" = running ]; do sleep 0.2; done'
FIRST_USE = (
    "iptables -t nat -L -n > /dev/null; lsmod | grep -q '^nf_conntrack ' || iptables-legacy -t nat -L -n > /dev/null"
)
RULES = "table inet filter { chain input { type filter hook input priority 0; ct state established accept; }; }"


class Setup(NamedTuple):
    """A host before the recipe is applied. Connection tracking is loaded then."""

    name: str
    commands: str
    variables: dict[str, bool] = {}
    """For the role alone."""


class Event(NamedTuple):
    number: int
    title: str
    setup: Setup
    commands: str
    before: str = "true"
    """After the recipe, and not part of the event: nothing may move by it."""
    reboots: bool = False
    after: str = "true"
    """Once it has come back."""
    reloads: bool = False
    """The module must have been unloaded and loaded, or the event is none."""


UNLOADED = Setup(
    "firewalld that unloads",
    "grep -q ^CleanupModulesOnExit /etc/firewalld/firewalld.conf || echo CleanupModulesOnExit=yes >> /etc/firewalld/firewalld.conf;"
    "sed -i 's/^CleanupModulesOnExit=.*/CleanupModulesOnExit=yes/' /etc/firewalld/firewalld.conf;"
    f"systemctl enable --now firewalld; {FIREWALLD_RUNS}",
    {"conntrack_firewall": False},
)
MANAGED = Setup("firewalld", f"systemctl enable --now firewalld; {FIREWALLD_RUNS}")
PLAIN = Setup(
    "nftables",
    f"echo 'flush ruleset; {RULES}' > /etc/nftables.conf; systemctl enable --now nftables; ufw allow 22/tcp; mkdir -p /etc/sysconfig;"
    "echo 'IPTABLES_MODULES_UNLOAD=\"yes\"' > /etc/sysconfig/iptables-config",
    {"conntrack_firewall": False},
)

EVENTS = (
    Event(
        1,
        "restart of firewalld, `CleanupModulesOnExit=yes` left alone",
        UNLOADED,
        f"systemctl restart firewalld; {FIREWALLD_RUNS}",
        reloads=True,
    ),
    Event(2, "restart of firewalld", MANAGED, f"systemctl restart firewalld; {FIREWALLD_RUNS}"),
    Event(3, "`firewall-cmd --complete-reload`", MANAGED, f"firewall-cmd --complete-reload; {FIREWALLD_RUNS}"),
    Event(
        4,
        "firewalld stopped, then `iptables -t nat -L`",
        UNLOADED,
        f"systemctl stop firewalld; until unload-conntrack; do sleep 1; done; {FIRST_USE}",
        reloads=True,
    ),
    Event(
        5,
        "`modprobe -r` of all that tracks, `modprobe nf_conntrack`",
        PLAIN,
        "systemctl stop nftables; unload-conntrack; modprobe nf_conntrack",
        reloads=True,
    ),
    Event(
        6,
        "restart of an iptables service that unloads",
        PLAIN,
        "systemctl restart iptables",
        before="systemctl stop nftables; systemctl start iptables",
        reloads=True,
    ),
    Event(7, "restart of nftables with a `ct` rule", PLAIN, "systemctl restart nftables"),
    Event(
        8,
        "ufw disabled and enabled",
        PLAIN,
        "ufw --force disable; ufw --force enable",
        before="ufw --force enable",
    ),
    Event(9, "reboot", MANAGED, "reboot", reboots=True, after=FIREWALLD_RUNS),
    Event(
        10,
        "reboot with firewalld disabled, then `iptables -t nat -L`",
        MANAGED,
        "systemctl disable firewalld; reboot",
        reboots=True,
        after=FIRST_USE,
    ),
    Event(
        11,
        "two restarts of firewalld within a second",
        UNLOADED,
        f"systemctl restart firewalld & sleep 0.7; systemctl restart firewalld; wait; {FIREWALLD_RUNS}",
    ),
)
SETUPS = (UNLOADED, MANAGED, PLAIN)
