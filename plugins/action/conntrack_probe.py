# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action conntrack_probe: tries what is to work, from the controller or on the host, until all of it does or the time is over."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import (
    Wrong,
    problem,
    truth,
    whole,
)
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import OF_CORE
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet import probes
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.guard import Guard, handed_on

# Seconds between two tries.
PAUSE = 1.0


class ActionModule(Guard):
    def _handed(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        strange = sorted(set(self._task.args) - {"probes", "only", "required", "seconds"})
        try:
            if strange:
                raise Wrong(f"expected probes, only, required and seconds, found {', '.join(strange)}")
            wanted = probes.read(self._task.args.get("probes") or [])
            only = self._task.args.get("only")
            wanted = [probe for probe in wanted if only is None or probe.name in only]
            required = truth(self._task.args.get("required", True))
            seconds = whole(0, 3600, "seconds")(self._task.args.get("seconds", 0))
        except Wrong as wrong:
            return {"failed": True, "msg": problem("probes", self._task.args.get("probes"), str(wrong))}
        if self._task.check_mode:
            return {"changed": False, "skipped": True, "msg": "Probes are not tried in check mode."}
        deadline = time.monotonic() + seconds
        red = self._red(wanted, task_vars)
        while red and time.monotonic() < deadline:
            time.sleep(min(PAUSE, max(0.0, deadline - time.monotonic())))
            red = self._red([probe for probe in wanted if probe.name in red], task_vars)
        said = "; ".join(f"{name}: {why}" for name, why in red.items())
        green = [probe.name for probe in wanted if probe.name not in red]
        result = {"changed": False, "failed": bool(red) and required, "green": green, "red": list(red)}
        return {**result, "msg": said} if red else result

    def _red(self, wanted: list[probes.Probe], task_vars: dict[str, Any]) -> dict[str, str]:
        address = self._play_context.remote_addr or task_vars["inventory_hostname"]
        found = {}
        for probe in wanted:
            if probe.by == probes.CONTROLLER:
                why = probes.tried(probe, address)
            else:
                name, options = probes.module(probe)
                self.answer = OF_CORE[name]
                said = handed_on(self.answer, self._executed(name, options, task_vars))
                why = said.get("msg", "no message") if said.get("failed") else ""
            if why:
                found[probe.name] = why
        return found
