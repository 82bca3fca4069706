# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The role adds its files and sets its keys; on a host that needs nothing else, nothing else differs."""

from __future__ import annotations

import re

import pytest
from testinfra.host import Host

FILES = {
    "/etc/modprobe.d/nf_conntrack.conf",
    "/etc/modules-load.d/nf_conntrack.conf",
    "/etc/sysctl.d/99-conntrack.conf",
    "/etc/udev/rules.d/90-conntrack.rules",
}
KEY = re.compile(r"net\.(netfilter\.)?nf_conntrack_\w+ = \d+")


@pytest.fixture(scope="module")
def differences(host: Host) -> list[str]:
    done = host.run("/var/tmp/look rest | diff /var/tmp/before -")
    assert done.rc == 1, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith(("<", ">"))]


def test_only_its_files_are_new(differences: list[str]) -> None:
    files = [line.split() for line in differences if " = " not in line]
    assert {words[-1] for words in files} == FILES
    assert {tuple(words[:3]) for words in files} == {(">", "-rw-r--r--", "root:root")}


def test_only_its_keys_have_changed(differences: list[str]) -> None:
    keys = [line[2:] for line in differences if " = " in line]
    assert [key for key in keys if not KEY.fullmatch(key)] == []
