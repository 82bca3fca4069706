# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One change at a time, and each to its end: the lock, the hold, and a process that no hang-up ends."""

from typing import Any, Callable, Dict

from ..facts.history import HOLD, LOCK, hold
from ..host.writing import Busy, WritableHost
from .failure import ChangeError, unwritten

Answer = Dict[str, Any]


def alone(host: WritableHost, seconds: int, who: str, work: Callable[[], Answer]) -> Answer:
    """What ``work`` answers while no other change of this host is on its way. Raises ChangeError, as it may itself."""

    def locked() -> Answer:
        holder = "{0}, at work since {1}".format(who or "a run that gave no name", host.now())
        try:
            with host.lock(LOCK, seconds, holder):
                return {"answer": work()}
        except Busy as busy:
            said = "another change of this host is on its way, of {0}; waited {1} s for its end; run again".format(
                busy, seconds
            )
            return {"refused": said, "told": {}}
        except ChangeError as error:
            return {"refused": str(error), "told": error.told}
        except OSError as error:
            return {"refused": str(unwritten(host, "locking", LOCK, error)), "told": {}}

    found = host.apart(locked)
    if "refused" in found:
        raise ChangeError(found["refused"], **found["told"])
    return dict(found["answer"])


def refuse_held(host: WritableHost) -> None:
    why = hold(host)
    if why is not None:
        raise ChangeError("{0} keeps this host from being changed: {1}; take it away to end that".format(HOLD, why))
