# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a host, or will be: facts -> findings, each with what was seen, why it matters and what to do. Pure.

Total over facts of any subset: what is not known is not judged.
"""

from typing import Callable, Iterable, List, Tuple

from ..outcome.said import SEVERITIES
from ..values import Facts
from . import later, namespaces, now, tcp, whose
from .catalogue import Finding
from .seen import Seen

_RULES: Tuple[Callable[[Seen], Iterable[Finding]], ...] = (
    now.usage,
    now.drops,
    now.unlisted,
    now.counters,
    now.cloud,
    now.chains,
    now.memory,
    now.timeouts,
    now.followers,
    tcp.loose,
    tcp.strict,
    later.lost,
    later.others,
    later.persistence,
    namespaces.namespaces,
    whose.provenance,
    whose.unreadable,
)


def findings(facts: Facts) -> List[Finding]:
    """What there is to say of a host with these facts, worst first, then by id."""
    host = Seen(facts)
    if host.state == "absent":
        return []
    found = [finding for rule in _RULES for finding in rule(host)]
    return sorted(found, key=lambda finding: (SEVERITIES.index(finding.severity), finding.id))
