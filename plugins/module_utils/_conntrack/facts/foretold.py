# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from what was read of a host. It is reckoned where it is wanted: as proof of a change on the host, else on the
controller, so that a host without drift need not bring the rules."""

from typing import Callable, Dict

from ..outcome.fold import predict
from ..shown import shorten
from ..values import Facts, as_dict

_LISTS = ("overriding", "problems")
# What it is made of, all of it of the subset persistence.
_BASE = ("assignments", "services", "timeouts", "switches")


def foretold(facts: Facts, foreknown: Callable[[Facts], Facts] = lambda facts: facts) -> Facts:
    """The same facts, with what will be where what decides it was read. ``foreknown`` adds what sizes by rules of the plan."""
    read = {name: value for name, value in facts.items() if name != "outcome"}
    if not all(name in read for name in _BASE):
        return read
    outcome = as_dict(predict(foreknown(read)))
    left_out: Dict[str, int] = {}
    shorten(outcome, _LISTS, left_out)
    more = {"outcome." + name: number for name, number in left_out.items()}
    return dict(read, outcome=outcome, left_out=dict(read["left_out"], **more))
