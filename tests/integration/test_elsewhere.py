# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Where not all can be written: another network namespace, a read-only /proc/sys, and without root."""

from __future__ import annotations

import pytest
from conftest import FILES, Machine

# What a host makes of it does not depend on the core that asks for it.
pytestmark = pytest.mark.on_one_core

NETNS = ("unshare", "--net")
READ_ONLY = ("unshare", "--mount", "--net", "sh", "-c", 'mount -o bind,ro /proc/sys /proc/sys && exec "$@"', "sh")
# May read everything, so that neither a private home nor a private checkout hides ansible-playbook and its Python.
READING = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *READING)


def test_another_namespace_gets_its_timeouts_and_nothing_else(machine: Machine) -> None:
    values = machine.values()
    ran = machine.play("--diff", inside=NETNS)
    assert ran.changed == 1
    assert "warning: limit: this is not the first network namespace" in ran.output
    assert "+net.netfilter.nf_conntrack_tcp_timeout_established = 7440" in ran.output
    assert machine.values() == values
    assert not any(path.exists() for path in FILES)


@pytest.mark.parametrize("inside", [NETNS, READ_ONLY], ids=["another namespace", "read-only"])
def test_a_limit_asked_for_where_it_cannot_be_set_is_refused(machine: Machine, inside: tuple[str, ...]) -> None:
    asked = machine.play("-e", "conntrack_max=500000", inside=inside, expect=2)
    assert "conntrack_max: 500000 asked for, 262144 found, and this is not the first network namespace" in asked.output
    # What is so already is no failure.
    machine.play("-e", "conntrack_max=262144", inside=inside)


def test_a_read_only_proc_sys_is_left_alone(machine: Machine) -> None:
    assert machine.play(inside=READ_ONLY).changed == 0
    said = machine.play(name="audit", inside=READ_ONLY).output
    assert "warning: limit: this is not the first network namespace" in said


def test_without_root_there_are_facts_and_a_refusal(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("nobody")
    for folder in (home, *home.parents[:2]):
        folder.chmod(0o755)
    home.chmod(0o777)
    environment = {
        "HOME": str(home),
        "ANSIBLE_LOCAL_TEMP": str(home / "local"),
        "ANSIBLE_REMOTE_TEMP": str(home / "remote"),
    }
    machine.play(name="audit", inside=NOBODY, **environment)
    refused = machine.play(inside=NOBODY, expect=2, **environment)
    assert "root is needed to change this host; run with --become" in refused.output
