# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action conntrack_report: what is known of a play's hosts, or of reports of parts of a fleet, as files on the controller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import between, glance, store
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted

# What the tasks of the role leave behind that read.
FACTS = "__conntrack_before"
POLICY = tuple(f"conntrack_{field}" for field in Policy._fields)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Connects to no host, and runs nothing there."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset((*store.VARIABLES, "input_only"))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        result["changed"] = False
        options = {name: value for name, value in self._task.args.items() if name != "input_only"}
        try:
            asked = store.read(options)
        except PolicyError as error:
            return {**result, "failed": True, "msg": str(error)}
        if self._task.args.get("input_only") in (True, "true", "yes"):
            return result
        when = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        whole = between.merged(asked.merge, when) if asked.merge else model.made(hosts(task_vars or {}), when)
        report = store.finished(asked, whole)
        try:
            written = store.write(store.files(asked, report), bool(self._task.check_mode))
        except OSError as error:
            return {**result, "failed": True, "msg": f"{error.filename}: {error.strerror}"}
        result.update(changed=bool(written), files=[one["after_header"] for one in written], diff=written)
        return dict(untrusted({**result, "summary": glance.summary(report), "accepted": model.accepted_of(report)}))


def hosts(task_vars: Mapping[str, Any]) -> Iterator[model.Host]:
    """Of all hosts of the play, those among them that could not be reached or have failed."""
    reader = model.Reader()
    for name in task_vars.get("ansible_play_hosts_all", ()):
        variables = task_vars["hostvars"][name]
        # Looked up one by one: a host's variables are many, and each is templated when it is read.
        asked = {one: variables[one] for one in POLICY if one in variables}
        yield reader.host(str(name), variables.get(FACTS), asked)
