# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Every module is reached through the guard."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.guard import Guard

PLUGINS = Path(__file__).resolve().parents[4] / "plugins"
# One connects to no host.
UNGUARDED = {"conntrack_report"}
MODULES = sorted({path.stem for path in PLUGINS.glob("modules/*.py")} - UNGUARDED)


def test_there_is_one_for_each_module():
    assert sorted(path.stem for path in PLUGINS.glob("action/*.py")) == sorted([*MODULES, *UNGUARDED])


@pytest.mark.parametrize("name", MODULES)
def test_it_guards_the_module_of_its_name(name):
    action = importlib.import_module(f"ansible_collections.headroom.netfilter.plugins.action.{name}").ActionModule
    assert issubclass(action, Guard)
    # One runs several, and of another it is an option.
    assert name in ("conntrack", "conntrack_guarded", "conntrack_probe") or action.answer.module == name
    # The result of a task that is polled comes past its action.
    assert action._supports_async is False
    assert action._supports_check_mode is True


@pytest.mark.parametrize("name", MODULES)
def test_of_a_tree_only_facts_are_read(name):
    action = importlib.import_module(f"ansible_collections.headroom.netfilter.plugins.action.{name}").ActionModule
    asked = []

    class Asked(action):
        def _executed(self, module, options, task_vars):
            asked.append((module, options))
            return {"changed": False, "ansible_facts": {"conntrack": {}}}

    task = SimpleNamespace(
        args={}, check_mode=False, async_val=0, delegate_to=None, action=f"headroom.netfilter.{name}", diff=False
    )
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp/x"), has_pipelining=True)
    guard = Asked(task, connection, SimpleNamespace(), None, Templar(loader=DataLoader()), None)
    result = guard.run(task_vars={"conntrack_root": "/srv/image", "inventory_hostname": "image"})
    if name == "conntrack_facts":
        assert asked == [("headroom.netfilter.conntrack_facts", {"root": "/srv/image"})]
    else:
        assert (asked, result["failed"]) == ([], True)
        assert "conntrack_root: '/srv/image' will not do" in result["msg"]
