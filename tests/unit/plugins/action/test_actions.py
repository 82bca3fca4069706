# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Every module is reached through the guard."""

import importlib
from pathlib import Path

import pytest

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.guard import Guard

PLUGINS = Path(__file__).resolve().parents[4] / "plugins"
MODULES = sorted(path.stem for path in PLUGINS.glob("modules/*.py"))


def test_there_is_one_for_each_module():
    assert sorted(path.stem for path in PLUGINS.glob("action/*.py")) == MODULES


@pytest.mark.parametrize("name", MODULES)
def test_it_guards_the_module_of_its_name(name):
    action = importlib.import_module(f"ansible_collections.headroom.netfilter.plugins.action.{name}").ActionModule
    assert issubclass(action, Guard)
    # One runs several, and of another it is an option.
    assert name in ("conntrack", "conntrack_guarded") or action.answer.module == name
    # The result of a task that is polled comes past its action.
    assert action._supports_async is False
    assert action._supports_check_mode is True
