# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What the firewalls made of scripts set, by what their files say."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.tree import opened
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.finder import owners

NAMES = kernel.FLAVOURS["nf_conntrack"]
ACTIVE = "/run/systemd/units/invocation:{0}.service"

APF = "/etc/apf/conf.apf"
RULES = (
    "echo $SYSCTL_CONNTRACK > /proc/sys/net/nf_conntrack_max\n"
    "echo 600 > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established\n"
    "echo 90 > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait\n"
    'echo "$SYSCTL_CONNTRACK_BUCKETS" > /sys/module/nf_conntrack/parameters/hashsize\n'
)
OLD_RULES = "echo $SYSCTL_CONNTRACK > /proc/sys/net/nf_conntrack_max\n"
SHORT = {"tcp_timeout_established": 600, "tcp_timeout_time_wait": 90}

ARNO = "/etc/arno-iptables-firewall/firewall.conf"
FIXED = {"udp_timeout": 60, "acct": 1}
FIREHOL = "/etc/firehol/firehol.conf"
DEFAULTS = "/etc/firehol/firehol-defaults.conf"


def found(tmp_path, files):
    for path, text in files.items():
        at = tmp_path / path.lstrip("/")
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)
    return owners(opened(str(tmp_path)), NAMES, 4)[0]


def keys(found):
    assert all(owner.at_boot and owner.path is None for owner in found)
    return {key.replace(NAMES.prefix, ""): value for owner in found for key, value in owner.keys.items()}


@pytest.mark.parametrize(
    ("unit", "files", "expected"),
    [
        (
            "apf",
            {APF: 'SYSCTL_CONNTRACK="65536"\nSYSCTL_CONNTRACK_BUCKETS="16384"\n'},
            dict(SHORT, max=65536, hashsize=16384),
        ),
        ("apf", {APF: ""}, dict(SHORT, max=131072)),
        ("apf", {APF: 'SYSCTL_CONNTRACK="65536"\nSYSCTL_CONNTRACK_ADAPTIVE="1"\n'}, dict(SHORT, max=None)),
        ("apf", {APF: 'SYSCTL_CONNTRACK_BUCKETS="16384"\n', "/etc/apf/sysctl.rules": OLD_RULES}, {"max": 131072}),
        ("apf", {}, {}),
        ("other", {APF: ""}, {}),
        ("arno-iptables-firewall", {ARNO: "CONNTRACK=16384\n"}, dict(FIXED, max=16384)),
        ("arno-iptables-firewall", {ARNO: "CONNTRACK=0\n"}, FIXED),
        ("arno-iptables-firewall", {ARNO: "#CONNTRACK=16384\n"}, FIXED),
        (
            "arno-iptables-firewall",
            {
                ARNO: "CONNTRACK=16384\n",
                "/etc/arno-iptables-firewall/conf.d/10.conf": "CONNTRACK=1\n",
                "/etc/arno-iptables-firewall/conf.d/20.conf": "CONNTRACK=500000\n",
                "/etc/arno-iptables-firewall/conf.d/30.off": "CONNTRACK=2\n",
            },
            dict(FIXED, max=500000),
        ),
        ("arno-iptables-firewall", {ARNO: "CONNTRACK=$MOST\n"}, dict(FIXED, max=None)),
        ("firehol", {FIREHOL: "version 6\n"}, {}),
        (
            "firehol",
            {FIREHOL: "version 6\n", DEFAULTS: "FIREHOL_CONNTRACK_MAX=200000\nFIREHOL_CONNTRACK_LOOSE_MATCHING=0\n"},
            {"max": 200000, "tcp_loose": 0},
        ),
        (
            "firehol",
            {FIREHOL: "FIREHOL_CONNTRACK_HASHSIZE=65536\n", DEFAULTS: "FIREHOL_CONNTRACK_HASHSIZE=1\n"},
            {"hashsize": 65536},
        ),
        ("firehol", {FIREHOL: "FIREHOL_CONNTRACK_MAX=\n", DEFAULTS: "FIREHOL_CONNTRACK_MAX=200000\n"}, {}),
    ],
    ids=[
        "APF",
        "APF, silent",
        "APF that raises by itself",
        "an older APF",
        "APF without its file",
        "APF that is off",
        "Arno",
        "Arno, nought",
        "Arno, a comment",
        "Arno, its folder",
        "Arno, a variable",
        "FireHOL, silent",
        "FireHOL, its defaults",
        "FireHOL, over its defaults",
        "FireHOL, emptied",
    ],
)
def test_what_is_set(tmp_path, unit, files, expected):
    rules = {"/etc/apf/sysctl.rules": RULES, ACTIVE.format(unit): ""}
    assert keys(found(tmp_path, dict(rules, **files))) == expected


def test_enabled_counts_as_active(tmp_path):
    wanted = "/etc/systemd/system/multi-user.target.wants/firehol.service"
    assert keys(found(tmp_path, {wanted: "", FIREHOL: "FIREHOL_CONNTRACK_MAX=200000\n"})) == {"max": 200000}


def test_where_it_says_so(tmp_path):
    first, second = found(tmp_path, {ACTIVE.format("arno-iptables-firewall"): "", ARNO: "CONNTRACK=16384\n"})
    assert first.evidence == "at each of its starts, {0}: CONNTRACK=16384".format(ARNO)
    assert first.remedy == "set CONNTRACK in " + ARNO
    assert second.evidence == "at each of its starts, whatever its configuration says"
