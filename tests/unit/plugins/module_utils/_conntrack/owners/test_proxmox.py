# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What Proxmox VE's firewalls set, by what their files say."""

import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.tree import opened
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.finder import owners

NAMES = kernel.FLAVOURS["nf_conntrack"]
MAX, ESTABLISHED, SYN_RECV = (NAMES.prefix + key for key in ("max", "tcp_timeout_established", "tcp_timeout_syn_recv"))
ON = "[OPTIONS]\nenable: 1\n"
SILENT = {MAX: 262144, "hashsize": 65536, ESTABLISHED: 432000, SYN_RECV: 60}


def found(
    tmp_path, cluster=ON, host="", limit=65536, unit="/run/systemd/units/invocation:pve-firewall.service", nft=False
):
    files = {
        unit: "",
        "/etc/pve/firewall/cluster.fw": cluster,
        "/etc/pve/local/host.fw": host,
        "/proc/sys/net/netfilter/nf_conntrack_max": "{0}\n".format(limit),
        "/usr/libexec/proxmox/proxmox-firewall": "",
    }
    for path, text in files.items():
        at = tmp_path / path.lstrip("/")
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)
    os.chmod(str(tmp_path / "usr/libexec/proxmox/proxmox-firewall"), 0o755 if nft else 0o644)
    return owners(opened(str(tmp_path)), NAMES, 4)[0]


def keys(found):
    assert all(owner.at_boot and owner.path is None for owner in found)
    return {key: value for owner in found for key, value in owner.keys.items()}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, SILENT),
        ({"unit": "/etc/systemd/system/multi-user.target.wants/pve-firewall.service"}, SILENT),
        ({"unit": "/run/systemd/units/invocation:other.service"}, {}),
        ({"cluster": "[OPTIONS]\nenable: 0\n"}, {}),
        ({"cluster": "[OPTIONS]\nenable: 1764100000\n"}, {}),
        ({"cluster": "[RULES]\nenable: 1\n"}, {}),
        ({"cluster": ""}, {}),
        ({"host": "[OPTIONS]\nnf_conntrack_max: 196608\n"}, SILENT),
        ({"host": "[OPTIONS]\nnf_conntrack_max: 262145\n"}, dict(SILENT, **{MAX: 270336, "hashsize": 67584})),
        ({"host": "[options]\n\tNF_CONNTRACK_MAX:  1048576 \n"}, dict(SILENT, **{MAX: 1048576, "hashsize": 262144})),
        ({"host": "[RULES]\nnf_conntrack_max: 1048576\n"}, SILENT),
        ({"limit": 262144}, {MAX: 262144, ESTABLISHED: 432000, SYN_RECV: 60}),
        ({"host": "[OPTIONS]\nnf_conntrack_tcp_timeout_established: 7875\n"}, dict(SILENT, **{ESTABLISHED: 7875})),
        (
            {"host": "[OPTIONS]\nnf_conntrack_tcp_timeout_syn_recv: 45\n"},
            {key: value for key, value in SILENT.items() if key != SYN_RECV},
        ),
        ({"host": "[OPTIONS]\nnftables: 1\nnf_conntrack_max: 100001\n"}, dict(SILENT)),
        ({"host": "[OPTIONS]\nnftables: 1\nnf_conntrack_max: 100001\n", "nft": True}, {MAX: 100001}),
        ({"host": "[OPTIONS]\nnftables: 1\n", "nft": True}, {}),
        ({"host": "[OPTIONS]\nnftables: 1\nnf_conntrack_tcp_timeout_syn_recv: 45\n", "nft": True}, {SYN_RECV: 45}),
    ],
    ids=[
        "silent",
        "enabled",
        "not there",
        "off",
        "on for a minute, long ago",
        "in another section",
        "no file",
        "below the least",
        "rounded up",
        "words as its parser takes them",
        "a rule",
        "as it is already",
        "established",
        "syn_recv",
        "nftables without its program",
        "nftables",
        "nftables, silent",
        "nftables, syn_recv",
    ],
)
def test_what_is_set(tmp_path, more, expected):
    assert keys(found(tmp_path, **more)) == expected


def test_where_it_says_so(tmp_path):
    first = found(tmp_path, host="[OPTIONS]\nnf_conntrack_max: 1048576\n")[0]
    assert (first.name, first.evidence) == ("pve-firewall", "every 10 s, /etc/pve/local/host.fw:2: nf_conntrack_max")
    assert first.remedy == "set nf_conntrack_max in /etc/pve/local/host.fw, a multiple of 8192 from 262144 on"
    silent = found(tmp_path)[0]
    assert silent.evidence == "every 10 s, /etc/pve/local/host.fw says nothing of nf_conntrack_max"
