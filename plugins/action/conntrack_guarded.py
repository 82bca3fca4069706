# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action conntrack_guarded: a module of ansible-core, and of its answer what it is for."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import OF_CORE
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.guard import Guard, shown_escaped

COPY = "ansible.builtin.copy"


class ActionModule(Guard):
    TRANSFERS_FILES = True

    def _answered(self, task_vars: dict[str, Any]) -> Any:
        if set(self._task.args) != {"module", "options"} or self._task.args["module"] not in OF_CORE:
            raise AnsibleActionFail(f"expected options, and for module one of {', '.join(OF_CORE)}")
        self.answer = OF_CORE[self._task.args["module"]]
        options = dict(self._task.args["options"])
        if self.answer.module != COPY:
            return self._executed(self.answer.module, options, task_vars)
        # An action of its own, which brings the file along.
        task = self._task.copy()
        task.args = options
        copy = self._shared_loader_obj.action_loader.get(
            "ansible.legacy.copy",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        with shown_escaped():
            return copy.run(task_vars=task_vars)
