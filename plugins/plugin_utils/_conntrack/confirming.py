# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules whose change may cut the host off: it is confirmed over a connection that is opened anew, or the host undoes it.

A connection that was there before proves nothing: its packets may pass where those of a new one do not.
"""

from __future__ import annotations

import getpass
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import short
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.guard import Guard, handed_on

# Seconds before a change is asked for again whose answer was lost.
WAITS = (2, 8, 20)
# Seconds between two tries to confirm.
PAUSE = 2
# Characters of the name of a play.
LONGEST_NAME = 80

Result = dict[str, Any]


class Confirming(Guard):
    """Runs the module of its name, and confirms what it has made where it is to be confirmed."""

    def _handed(self, task_vars: dict[str, Any]) -> Result:
        options = {"id": new_id(), "who": who(task_vars), **self._task.args}
        begun = time.monotonic()
        made = self._asked(options, task_vars)
        if made.get("state") != "unconfirmed" or options.get("confirm"):
            return made
        seconds = float(options.get("confirm_seconds") or 0)
        said = self._confirmed(made["id"], begun + seconds, options, task_vars)
        # What was made is told by the first answer.
        return said if said.get("failed") else {**made, "state": said["state"]}

    def _asked(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> Result:
        return persistently(self._connection, lambda: self._once(options, task_vars))

    def _confirmed(self, name: str, until: float, options: Mapping[str, Any], task_vars: dict[str, Any]) -> Result:
        asked = {"confirm": name, "who": options["who"]}
        while True:
            try:
                self._connection.reset()
                return self._once(asked, task_vars)
            except AnsibleConnectionFailure as error:
                if time.monotonic() >= until:
                    # What ansible-core would clean up there fails as well, and its failure would be told in place of this one.
                    self._connection._shell.tmpdir = None
                    raise AnsibleConnectionFailure(
                        f"{error} -- no new connection came through after change {name}, which so was not confirmed: the host has taken "
                        "it back by itself, or does so within seconds"
                    ) from None
                time.sleep(PAUSE)

    def _once(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> Result:
        name = f"headroom.netfilter.{self.answer.module}"
        return handed_on(self.answer, self._executed(name, options, task_vars))


def persistently(connection: Any, ask: Callable[[], Result]) -> Result:
    """A host ends a change by itself; what came of it is stored there, and asked for by its id again."""
    for wait in WAITS:
        try:
            return ask()
        except AnsibleConnectionFailure:
            time.sleep(wait)
            connection.reset()
    return ask()


def who(task_vars: Mapping[str, Any]) -> str:
    """Who asks, for the log of the host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    play = str(task_vars.get("ansible_play_name", ""))[:LONGEST_NAME]
    return short(f"{user}@{socket.gethostname()}, play {play}")


def new_id() -> str:
    """Of a change that is planned. Tells when, to people who look for it in a host's history."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:12]}"
