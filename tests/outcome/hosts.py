# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Hosts by what decides there how connection tracking comes up: scripts of Bash, run on a pristine guest of the lab."""

from __future__ import annotations

from typing import NamedTuple

LOADED = "mkdir -p /etc/modules-load.d; echo nf_conntrack > /etc/modules-load.d/conntrack.conf"
BROUGHT_BACK = (
    "mkdir -p /etc/udev/rules.d; printf '%s\\n' "
    '\'ACTION=="add", SUBSYSTEM=="module", KERNEL=="nf_conntrack", RUN+="{helper} --prefix=/net/netfilter"\' '
    "> /etc/udev/rules.d/90-local.rules"
)
MERGED = "/usr/lib/systemd/systemd-sysctl"
HERE = "'$(ls /usr/lib/systemd/systemd-sysctl /lib/systemd/systemd-sysctl 2>/dev/null | head -n 1)'"


class Host(NamedTuple):
    name: str
    commands: str
    let_go: str = "true"
    """What makes a firewall let go of the module, so that it can be unloaded."""
    hold_again: str = "true"


HOSTS = (
    Host("nothing is configured", "true"),
    Host(
        "`/etc/sysctl.conf`, the module in modules-load.d",
        f"echo 'net.netfilter.nf_conntrack_max = 100000' >> /etc/sysctl.conf; {LOADED}",
    ),
    Host(
        "sysctl.d alone: the module comes after it",
        "echo 'net.netfilter.nf_conntrack_max = 100000' > /etc/sysctl.d/90-local.conf",
    ),
    Host(
        "files of packages in `/usr/lib`, a module that needs ours in modules-load.d",
        "mkdir -p /usr/lib/sysctl.d /usr/lib/modules-load.d;"
        "echo xt_conntrack > /usr/lib/modules-load.d/vendor.conf;"
        "printf 'net.netfilter.nf_conntrack_max=90000\\nnet/netfilter/nf_conntrack_generic_timeout = 100\\n'"
        " > /usr/lib/sysctl.d/50-vendor.conf;"
        "echo 'net.netfilter.nf_conntrack_max=80000' > /usr/lib/sysctl.d/60-later.conf",
    ),
    Host(
        "a masked file",
        f"{LOADED}; mkdir -p /usr/lib/sysctl.d; echo 'net.netfilter.nf_conntrack_max=90000' > /usr/lib/sysctl.d/50-vendor.conf;"
        "ln -s /dev/null /etc/sysctl.d/50-vendor.conf; echo 'net.nf_conntrack_max=70000' > /etc/sysctl.d/40-local.conf",
    ),
    Host(
        "hashsize in modprobe.d, split over lines and files",
        "printf 'options nf_conntrack \\\\\\n  hashsize=5000 acct=1\\n' > /etc/modprobe.d/a.conf;"
        "echo 'options nf-conntrack hashsize=20000' > /etc/modprobe.d/b.conf",
    ),
    Host(
        "globs, exclusions, duplicates, odd spacing",
        f"{LOADED}; printf '%s\\n' 'net.netfilter.nf_conntrack_tcp_timeout_* = 200'"
        " '-net.netfilter.nf_conntrack_tcp_timeout_close' ' net/netfilter/nf_conntrack_tcp_timeout_established=  4000  '"
        " '; net.netfilter.nf_conntrack_max = 1' 'net.netfilter.nf_conntrack_max=50000' '-net.netfilter.nf_conntrack_max=60000'"
        " > /etc/sysctl.d/10-local.conf",
    ),
    Host(
        "a udev rule that finds its helper, and the alias, which it passes over",
        "printf 'net.netfilter.nf_conntrack_udp_timeout=45\\nnet.nf_conntrack_max=100000\\n' > /etc/sysctl.d/90-local.conf;"
        + BROUGHT_BACK.format(helper=HERE),
    ),
    Host(
        "a udev rule for a merged `/usr`, stale where that is split",
        f"{LOADED}; printf 'net.netfilter.nf_conntrack_udp_timeout=45\\nnet.netfilter.nf_conntrack_max=100000\\n'"
        " > /etc/sysctl.d/90-local.conf;" + BROUGHT_BACK.format(helper=MERGED),
    ),
    Host(
        "ufw with a line in its own sysctl.conf",
        f"{LOADED}; echo 'net.netfilter.nf_conntrack_max = 100000' > /etc/sysctl.d/90-local.conf;"
        "echo 'net/netfilter/nf_conntrack_max=77000' >> /etc/ufw/sysctl.conf;"
        "ufw allow 22/tcp; ufw --force enable; systemctl enable ufw",
        "ufw --force disable",
        "ufw --force enable",
    ),
    Host(
        "tuned with a profile of its own",
        f"{LOADED}; mkdir -p /etc/tuned/local; cd /etc/tuned; [ ! -d profiles ] || {{ rmdir local; mkdir profiles/local; cd profiles; }};"
        "printf '[sysctl]\\nnet.netfilter.nf_conntrack_max=66000\\nnet.netfilter.nf_conntrack_udp_timeout=50\\n' > local/tuned.conf;"
        "echo 'net.netfilter.nf_conntrack_udp_timeout = 55' > /etc/sysctl.d/90-local.conf;"
        "echo local > /etc/tuned/active_profile; echo manual > /etc/tuned/profile_mode; systemctl enable tuned",
    ),
    Host(
        "a line of modprobe.d that makes the load fail",
        f"{LOADED}; echo 'options nf_conntrack hashsize = 5000' > /etc/modprobe.d/bad.conf;"
        "echo 'net.netfilter.nf_conntrack_max = 100000' > /etc/sysctl.d/90-local.conf",
    ),
)
