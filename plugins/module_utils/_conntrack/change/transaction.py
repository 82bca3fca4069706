# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The change that the module conntrack_settings makes: files, lines and live values, and what a boot and a load will leave."""

from functools import partial
from typing import List

from ..facts.gather import gather
from ..facts.history import history
from ..host.writing import WritableHost
from ..values import Facts
from . import live, perform
from .alone import Answer
from .diff import diff
from .failure import ChangeError
from .perform import Found, Order, Work
from .prove import prove, waiting
from .request import Asked
from .writes import Write, writes


def run(host: WritableHost, asked: Asked, check: bool = False) -> Answer:
    """What the module conntrack_settings answers. Raises ChangeError, after which the host is as it was; or the error says what
    of it is not."""
    if asked.refusals:
        raise ChangeError("refused: " + "; ".join(asked.refusals))
    order = Order(asked.id, asked.who, "conntrack_settings", asked.lock_seconds, target=asked.target)
    answer = perform.run(
        host, order, partial(_look, host, asked), check, lambda said: dict(said, facts=gather(host, ["all"]))
    )
    if "facts" in answer:
        answer["facts"] = dict(answer["facts"], history=history(host))
    return answer


def _look(host: WritableHost, asked: Asked) -> Found:
    """Raises ChangeError for all that is to be refused."""
    facts = gather(host, ["table"])
    written = writes(host, asked)
    settings = live.settings(host, facts, asked)
    if written and not host.is_root():
        raise ChangeError("root is needed to write {0}; run with become".format(written[0].path))
    before = {setting.name: setting.found for setting in settings}
    after = {setting.name: setting.wanted for setting in settings}
    answer = {
        "before": before,
        "after": after,
        "diff": diff(written, before, after),
        "reboot_needed": waiting(asked, facts, after),
    }
    return Found(
        Work(written, live.to_change(settings), []),
        answer,
        partial(_proved, host, asked, settings, written),
    )


def _proved(host: WritableHost, asked: Asked, settings: List[live.Setting], written: List[Write]) -> Answer:
    facts: Facts = gather(host, ["all"])
    prove(host, asked, settings, written, facts)
    return {"facts": facts}
