# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Which scripts a boot runs; the order of real programs is asked in tests/integration/test_inits_oracle.py."""

import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.inits import init
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.started import scripts, started
from ansible_collections.headroom.netfilter.tests.unit import inits


@pytest.fixture
def host(tmp_path):
    def of(tree):
        for path, text in tree.items():
            target = tmp_path / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                target.symlink_to(text[3:])
            else:
                target.write_text(text)
        return Host(str(tmp_path))

    return of


@pytest.mark.parametrize(
    ("tree", "name", "paths"),
    [
        (inits.GENTOO, "OpenRC", ["/etc/init.d/hwclock", "/etc/init.d/modules", "/etc/init.d/sysctl"]),
        (
            inits.VOID,
            "runit",
            [
                "/etc/runit/1",
                "/etc/runit/core-services/02-kmods.sh",
                "/etc/runit/core-services/08-sysctl.sh",
                "/etc/runit/1",
                "/etc/runit/2",
            ],
        ),
        (
            inits.DEVUAN,
            "sysvinit",
            ["/etc/init.d/rcS", "/etc/init.d/kmod", "/etc/init.d/procps", "/etc/init.d/rcS", "/etc/init.d/rc.local"],
        ),
        (
            inits.BUILDROOT,
            "BusyBox init",
            ["/etc/init.d/rcS", "/etc/init.d/S02sysctl", "/etc/init.d/S11modules", "/etc/init.d/rcS"],
        ),
        (inits.UNKNOWN, "s6-linux-init", []),
        ({}, "", []),
    ],
    ids=["OpenRC", "Void", "Devuan", "Buildroot", "unknown", "none"],
)
def test_what_a_boot_runs(host, tree, name, paths):
    found = started(host(tree))
    assert (found.init, [script.path for script in found.scripts]) == (name, paths)


@pytest.mark.parametrize(
    "text",
    [
        "for a in b ",
        "for a in b; do ",
        "for a in " + " " * 4000,
        "modprobe $x ",
        "sysctl ",
        "sysctl -p $x\n",
        "/modules-load",
        "depend()\n",
        "apply_sysctl() \n",
        "# \n",
        'X="sysctl"\n',
        "a && . $f\n",
        "\0\udcff",
    ],
    ids=repr,
)
def test_any_script_gives_something_soon(tmp_path, text):
    whole = text * (200000 // len(text))

    class Says(Host):
        def read(self, path):
            return whole

    place = tmp_path / "etc/init.d"
    place.mkdir(parents=True)
    (place / "rcS").write_text("")
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin/init").symlink_to("/bin/busybox")
    begun = time.process_time()
    init(Says(str(tmp_path)))
    scripts(Says(str(tmp_path)))
    assert time.process_time() - begun < 2


def test_scripts_that_run_each_other(host):
    """As deep as is looked, and no deeper."""
    tree = {"/sbin/init": "-> /bin/busybox", "/etc/init.d/rcS": "for i in /etc/init.d/rcS; do\n$i\ndone\n"}
    assert {script.path for script in started(host(tree)).scripts} == {"/etc/init.d/rcS"}
