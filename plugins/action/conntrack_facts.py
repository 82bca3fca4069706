# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action conntrack_facts: the module of that name, and of its answer what the module may answer."""

from __future__ import annotations

from typing import Any

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import BY_MODULE
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.guard import Guard


class ActionModule(Guard):
    answer = BY_MODULE["conntrack_facts"]
    reads_trees = True

    def _answered(self, task_vars: dict[str, Any]) -> Any:
        options = dict(self._task.args)
        tree = self._tree(task_vars)
        if tree:
            options.setdefault("root", tree)
        return self._executed(f"headroom.netfilter.{self.answer.module}", options, task_vars)
