# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Firewall services, from files alone."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.services import (
    IPTABLES_SCRIPTS,
    services,
    unloading,
)
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


CONFIG = "/usr/lib/python3/dist-packages/firewall/config/__init__.py"
OLD = 'VERSION = "0.9.3"\n'
OLD_WHOLE = OLD + "FALLBACK_CLEANUP_ON_EXIT = True\n"
BACKPORT = OLD_WHOLE + "FALLBACK_CLEANUP_MODULES_ON_EXIT = True\n"
NEW = 'VERSION = "1.3.3"\n'
NEW_WHOLE = NEW + "FALLBACK_CLEANUP_ON_EXIT = True\nFALLBACK_CLEANUP_MODULES_ON_EXIT = False\n"


@pytest.mark.parametrize(
    ("text", "program", "cleans", "unloads", "line", "counts"),
    [
        ("CleanupModulesOnExit=no\n", NEW, "no", False, 1, "CleanupModulesOnExit=no"),
        (
            "# CleanupModulesOnExit\n; X\n CleanupModulesOnExit =yes\n",
            NEW,
            "yes",
            True,
            3,
            " CleanupModulesOnExit =yes",
        ),
        ("# CleanupModulesOnExit=yes\nCleanupOnExit=yes\n", NEW, None, False, None, ""),
        ("CleanupModulesOnExit=True\nCleanupModulesOnExit=no\n", NEW, "True", True, 1, "CleanupModulesOnExit=True"),
        # It takes no line of these, and then the first that it does take.
        (
            "CleanupModulesOnExit=\nCleanupModulesOnExit=no=\ncleanupmodulesonexit=no\nCleanupModulesOnExit=yes",
            NEW_WHOLE,
            "yes",
            True,
            4,
            "CleanupModulesOnExit=yes",
        ),
        # A word that it does not know is as good as none.
        ("CleanupModulesOnExit=maybe\nCleanupModulesOnExit=yes", NEW, "maybe", False, 1, "CleanupModulesOnExit=maybe"),
        ("CleanupModulesOnExit=yes # so", NEW, "yes # so", False, 1, "CleanupModulesOnExit=yes # so"),
        ("CleanupModulesOnExit=maybe", BACKPORT, "maybe", True, 1, "CleanupModulesOnExit=maybe"),
        ("", BACKPORT, None, True, 0, ""),
        ("", NEW_WHOLE, None, False, None, ""),
        # Whatever the version, but where the program is seen to know no such setting.
        ("CleanupModulesOnExit=no\n", OLD, "no", False, 1, "CleanupModulesOnExit=no"),
        ("CleanupModulesOnExit=no\n", BACKPORT, "no", False, 1, "CleanupModulesOnExit=no"),
        ("CleanupModulesOnExit=no\n", OLD_WHOLE, "no", True, None, ""),
        # Before it had the setting.
        ("CleanupOnExit=yes\n", OLD, None, True, None, ""),
        ("", OLD_WHOLE, None, True, None, ""),
        ("CleanupOnExit=no\nCleanupOnExit=yes\n", OLD, None, False, None, ""),
        ("CleanupOnExit=off\n", OLD, None, True, None, ""),
        ("", "", None, False, None, ""),
    ],
    ids=repr,
)
def test_what_firewalld_does_at_its_exit(text, program, cleans, unloads, line, counts):
    host = Files({FIREWALLD: text, CONFIG: program})
    firewalld = services(host)["firewalld"]
    assert (firewalld["cleanup_modules_on_exit"], firewalld["unloads"]) == (cleans, unloads)
    assert dict(unloading(host)) == {FIREWALLD: (unloads, cleans, line, counts)}


SCRIPT = """#!/bin/bash
# Unloads while IPTABLES_MODULES_UNLOAD is yes.
. /etc/init.d/functions
IPTABLES_CONFIG=/etc/sysconfig/iptables-config
IPTABLES_MODULES_UNLOAD="{0}"
[ -f "$IPTABLES_CONFIG" ] && . "$IPTABLES_CONFIG"
reload() {{
    IPTABLES_MODULES_UNLOAD="no"
}}
"""
YES, OFF = SCRIPT.format("yes"), SCRIPT.format("no")
# Of Enterprise Linux 8.
SILENT = '# Unlike IPTABLES_MODULES_UNLOAD\nIPTABLES_MODULES=""\n'


@pytest.mark.parametrize(
    ("text", "script", "says"),
    [
        ('IPTABLES_MODULES_UNLOAD="yes"\n', YES, (True, "yes", 1, 'IPTABLES_MODULES_UNLOAD="yes"')),
        ('IPTABLES_MODULES_UNLOAD="no"\n', YES, (False, "no", 1, 'IPTABLES_MODULES_UNLOAD="no"')),
        (
            "IPTABLES_MODULES_UNLOAD=no\nIPTABLES_MODULES_UNLOAD=yes",
            YES,
            (True, "yes", 2, "IPTABLES_MODULES_UNLOAD=yes"),
        ),
        # It asks for yes alone.
        ("IPTABLES_MODULES_UNLOAD=YES", YES, (False, "YES", 1, "IPTABLES_MODULES_UNLOAD=YES")),
        # Where the configuration says nothing.
        ("", YES, (True, None, 0, "")),
        ("# IPTABLES_MODULES_UNLOAD=no\nIPTABLES_MODULES_UNLOAD = no\n", YES, (True, None, 0, "")),
        ("", OFF, (False, None, None, "")),
        (None, YES, (True, None, 0, "")),
        # A line that says more is left, for one at the end.
        ("IPTABLES_MODULES_UNLOAD=yes; X=1", YES, (True, "yes", 0, "")),
        ("IPTABLES_MODULES_UNLOAD=$X", YES, (True, "$X", 1, "IPTABLES_MODULES_UNLOAD=$X")),
        # A script that does not speak of it unloads nothing.
        ('IPTABLES_MODULES_UNLOAD="yes"\n', SILENT, (False, "yes", None, "")),
        ("", SILENT, (False, None, None, "")),
        # Without a script that can be read.
        ("IPTABLES_MODULES_UNLOAD=yes", None, (True, "yes", 1, "IPTABLES_MODULES_UNLOAD=yes")),
        ("", None, (False, None, None, "")),
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", IPTABLES_SCRIPTS)
def test_whether_iptables_unloads(text, script, says, place):
    host = Files({path: said for path, said in ((IPTABLES, text), (place, script)) if said is not None})
    assert dict(unloading(host)) == {IPTABLES: says}
    assert services(host)["iptables"] == {
        "active": False,
        "modules_unload": says[1],
        "sysctl_load_list": [],
        "unloads": says[0],
    }


def test_a_script_of_that_name_alone_is_no_such_service():
    assert services(Files({IPTABLES_SCRIPTS[-1]: SILENT}))["iptables"] is None


def test_sysctls_that_iptables_loads():
    host = Files({IPTABLES: 'IPTABLES_SYSCTL_LOAD_LIST=".nf_conntrack .bridge-nf"\n'})
    assert services(host)["iptables"]["sysctl_load_list"] == [".nf_conntrack", ".bridge-nf"]


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
