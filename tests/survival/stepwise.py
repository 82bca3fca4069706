# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""On a host: one change, or what takes it back, which comes to an end before a step of it that is chosen.

stepwise.py HOW STEP < {"change": OPTIONS} or {"rollback": TO} or {"unload": OPTIONS} or
            {"notrack": OPTIONS} or {"history": null}

A step is a call that changes the machine. HOW is what happens before the one numbered STEP, or in the midst of it if it is a
write: "power" (the power is cut; what was not synced is lost), "synced" (it is, after all has come to the disk), "kill" (every
process of it is killed), "full" (that step and all after it that need room fail for want of it), "count" (nothing: each step is
named on standard error). On standard output: the answer, or what was refused or failed.
"""

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from plugins.module_utils._conntrack.change import request, rollback, transaction
from plugins.module_utils._conntrack.change.failure import ChangeError
from plugins.module_utils._conntrack.cures import unload
from plugins.module_utils._conntrack.facts.history import history
from plugins.module_utils._conntrack.host.writing import WritableHost
from plugins.module_utils._conntrack.notrack import converge

NEED_ROOM = (os.mkdir, os.write, os.symlink, os.rename, os.open, os.fsync, os.setxattr)


class Stepwise(WritableHost):
    """The host, and what befalls it."""

    def __init__(self, how: str, step: int) -> None:
        super().__init__()
        self.how, self.step, self.steps = how, step, 0
        self.caller = os.getpid()

    def do(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.steps += 1
        if self.how == "count":
            print(self.steps, call.__name__, self._place(arguments), file=sys.stderr, flush=True)
        elif self.how == "full":
            if (
                self.steps >= self.step
                and call in NEED_ROOM
                and not self._place(arguments).startswith(("/proc/", "/run/"))
            ):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif self.steps == self.step:
            if call is os.write:
                call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            self._end()
        return call(*arguments)

    @staticmethod
    def _place(arguments: Sequence[Any]) -> str:
        at = arguments[0]
        return os.readlink("/proc/self/fd/{0}".format(at)) if isinstance(at, int) else str(at)

    def _end(self) -> None:
        if self.how == "kill":
            for process in (self.caller, os.getpid()):
                os.kill(process, signal.SIGKILL)
        if self.how == "synced":
            os.sync()
        with open("/proc/sysrq-trigger", "w") as trigger:
            trigger.write("b")
        time.sleep(60)


def work(host: WritableHost, asked: dict[str, Any]) -> Any:
    ((what, options),) = asked.items()
    if what == "change":
        return transaction.run(host, request.read(options))
    if what == "unload":
        return unload.run(host, unload.Options(**options))
    if what == "notrack":
        return converge.answer(host, options)
    if what == "rollback":
        return rollback.run(host, options, 60, "a test")
    return history(host)


def main() -> None:
    host = Stepwise(sys.argv[1], int(sys.argv[2]))
    try:
        print(json.dumps(work(host, json.load(sys.stdin))))
    except ChangeError as error:
        print(json.dumps({"failed": str(error), "told": error.told}))


if __name__ == "__main__":
    main()
