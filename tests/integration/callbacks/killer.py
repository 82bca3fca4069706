# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A callback that ends ansible-playbook as kill -9 does, at a moment named in the environment.

KILL_AT=task:3 is when the third task starts, KILL_AT=item:2 after the second item of a loop is done.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: killer
type: aggregate
short_description: Kill the run at a moment named in the environment
description: For tests of what a run leaves behind that was killed.
"""

import os
import signal

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "killer"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.moments = {"task": 0, "item": 0}

    def _count(self, kind):
        self.moments[kind] += 1
        if os.environ.get("KILL_AT") == f"{kind}:{self.moments[kind]}":
            os.killpg(os.getpgid(0), signal.SIGKILL)

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._count("task")

    def v2_playbook_on_handler_task_start(self, task):
        self._count("task")

    def v2_runner_item_on_ok(self, result):
        self._count("item")
