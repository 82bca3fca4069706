# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Firewall services, from files alone."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.services import services
from ansible_collections.headroom.netfilter.tests.unit.fakes import FakeKernel

FIREWALLD = "/etc/firewalld/firewalld.conf"
IPTABLES = "/etc/sysconfig/iptables-config"
UFW = "/etc/ufw/ufw.conf"


class Files(FakeKernel):
    """A host that has these files, and the directories above them."""

    def __init__(self, texts):
        super().__init__()
        self.texts = texts

    def list(self, path):
        below = [file[len(path) + 1 :] for file in self.texts if file.startswith(path + "/")]
        return sorted({file.partition("/")[0] for file in below})


def test_none():
    assert services(Files({})) == {
        "firewalld": None,
        "iptables": None,
        "nftables": None,
        "netfilter_persistent": None,
        "ufw": None,
        "systemd_sysctl": None,
    }


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/usr/lib/python3/dist-packages/firewall/config/__init__.py", "1.3.3"),
        ("/usr/lib/python3.6/site-packages/firewall/config/__init__.py", "1.3.3"),
        ("/usr/lib/python2.7/site-packages/firewall/config/__init__.py", "1.3.3"),
        ("/usr/lib64/python3.9/site-packages/firewall/config/__init__.py", "1.3.3"),
        ("/opt/python3/site-packages/firewall/config/__init__.py", None),
        ("/usr/lib/perl5/site-packages/firewall/config/__init__.py", None),
    ],
)
@pytest.mark.parametrize("text", ["VERSION = '1.3.3'\n", '# it\nVERSION="1.3.3"\n'])
def test_version_of_firewalld(path, version, text):
    assert services(Files({FIREWALLD: "", path: text}))["firewalld"]["version"] == version


@pytest.mark.parametrize(
    ("text", "cleans"),
    [
        ("CleanupModulesOnExit=no\n", "no"),
        ("# CleanupModulesOnExit\n# Default: no\nCleanupModulesOnExit=yes\n", "yes"),
        ("# CleanupModulesOnExit=yes\nCleanupOnExit=yes\n", None),
    ],
    ids=repr,
)
def test_what_firewalld_does_at_its_exit(text, cleans):
    assert services(Files({FIREWALLD: text}))["firewalld"]["cleanup_modules_on_exit"] == cleans


@pytest.mark.parametrize(
    ("text", "unloads", "listed"),
    [
        ('IPTABLES_MODULES_UNLOAD="yes"\nIPTABLES_SYSCTL_LOAD_LIST=""\n', "yes", []),
        (
            'IPTABLES_MODULES_UNLOAD="no"\nIPTABLES_SYSCTL_LOAD_LIST=".nf_conntrack .bridge-nf"\n',
            "no",
            [".nf_conntrack", ".bridge-nf"],
        ),
        ("", None, []),
    ],
    ids=repr,
)
def test_iptables(text, unloads, listed):
    iptables = services(Files({IPTABLES: text}))["iptables"]
    assert iptables == {"active": False, "modules_unload": unloads, "sysctl_load_list": listed}


@pytest.mark.parametrize(
    ("mark", "active"),
    [
        ("/run/systemd/units/invocation:{}.service", True),
        ("/sys/fs/cgroup/systemd/system.slice/{}.service", True),
        ("/var/lock/subsys/{}", True),
        ("/run/systemd/units/invocation:{}-x.service", False),
    ],
)
@pytest.mark.parametrize(
    ("name", "path", "text"),
    [
        ("firewalld", FIREWALLD, ""),
        ("iptables", IPTABLES, ""),
        ("nftables", "/etc/nftables.conf", ""),
        ("nftables", "/etc/sysconfig/nftables.conf", ""),
        ("netfilter-persistent", "/etc/default/netfilter-persistent", ""),
        ("ufw", UFW, "ENABLED=yes\n"),
    ],
)
def test_active(name, path, text, mark, active):
    host = Files({path: text, mark.format(name): ""})
    name = name.replace("-", "_")
    assert services(host)[name]["active"] is active
    assert services(Files({path: text}))[name]["active"] is False


@pytest.mark.parametrize("text", ["ENABLED=no\n", "# ENABLED=yes\n", ""], ids=repr)
def test_ufw_that_is_disabled_is_not_active(text):
    assert services(Files({UFW: text, "/run/systemd/units/invocation:ufw.service": ""}))["ufw"] == {"active": False}


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        (["/lib/systemd/systemd-sysctl"], "/lib/systemd/systemd-sysctl"),
        (["/usr/lib/systemd/systemd-sysctl"], "/usr/lib/systemd/systemd-sysctl"),
        (["/lib/systemd/systemd-sysctl", "/usr/lib/systemd/systemd-sysctl"], "/usr/lib/systemd/systemd-sysctl"),
    ],
    ids=["split", "merged", "both"],
)
def test_helper_of_systemd(paths, chosen):
    assert services(Files(dict.fromkeys(paths, "")))["systemd_sysctl"] == chosen
