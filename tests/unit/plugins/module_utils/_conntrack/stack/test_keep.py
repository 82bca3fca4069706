# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Lines that would have conntrack loaded: each goes alone, and leaves all else of its file."""

import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.stack import keep

CONFIG = "/etc/sysconfig/iptables-config"


def write(root, path, text):
    at = str(root) + path
    os.makedirs(os.path.dirname(at), exist_ok=True)
    with open(at, "w", encoding="utf-8") as target:
        target.write(text)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ('IPTABLES_MODULES="ip_conntrack_netbios_ns"', 'IPTABLES_MODULES=""'),
        ('IPTABLES_MODULES="ip_conntrack_netbios_ns xt_tcpudp"', 'IPTABLES_MODULES="xt_tcpudp"'),
        ('IPTABLES_MODULES="xt_tcpudp nf_nat_ftp"', 'IPTABLES_MODULES="xt_tcpudp"'),
        ("IPTABLES_MODULES='a nf_conntrack  b nf-conntrack-ftp c'", "IPTABLES_MODULES='a b c'"),
        ("IPTABLES_MODULES=nf_conntrack_ftp", "IPTABLES_MODULES="),
        ('IPTABLES_MODULES="xt_tcpudp"', None),
        ('IPTABLES_MODULES="not_nf_conntrack nf_conntracker"', None),
        ('# IPTABLES_MODULES="nf_conntrack"', None),
        ('IPTABLES_MODULES="$X nf_conntrack"', None),
        ('IPTABLES_MODULES_UNLOAD="yes"', None),
    ],
)
def test_of_a_list_its_own_words_alone_are_taken(tmp_path, line, wanted):
    write(tmp_path, CONFIG, "# first\n  " + line + "\nA=b\n")
    found = keep.lines(WritableHost(str(tmp_path)), [])
    assert [(one.path, one.line, one.found, one.wanted) for one in found] == (
        [(CONFIG, 2, line, wanted)] if wanted is not None else []
    )


def test_a_line_that_loads_it_at_a_boot_is_commented_out_where_it_leads_to(tmp_path):
    write(tmp_path, "/etc/modules", "loop\nnf_conntrack\n")
    os.makedirs(str(tmp_path) + "/etc/modules-load.d")
    os.symlink("../modules", str(tmp_path) + "/etc/modules-load.d/modules.conf")
    early = [
        {"path": "/etc/modules-load.d/modules.conf", "line": 2, "module": "nf_conntrack", "brings": True},
        {"path": "/etc/modules-load.d/modules.conf", "line": 1, "module": "loop", "brings": False},
        {"path": "/usr/lib/modules-load.d/x.conf", "line": 1, "module": "nf_nat", "brings": True},
    ]
    found = keep.lines(WritableHost(str(tmp_path)), early)
    assert [tuple(one) for one in found] == [("/etc/modules", 2, "nf_conntrack", "# headroom.netfilter: nf_conntrack")]
    assert keep.elsewhere(early) == early[2:]
