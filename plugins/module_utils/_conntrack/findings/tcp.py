# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the switches of TCP let in, and what they keep out, where it matters."""

from typing import Iterator, List

from ..outcome.said import INFO, WARNING
from .catalogue import INVALID_WARNING, Finding, finding
from .seen import Seen, count_of, listed, unloaders

# Services whose rules drop what is INVALID, unless they are told not to.
_DROPPING = ("firewalld", "ufw")


def loose(host: Seen) -> Iterator[Finding]:
    """Of interest where the table was full, and a firewall would keep off it what is not picked up."""
    early, messages = host.part("counters").get("early_drop"), host.part("log").get("table_full")
    dropping = _dropping(host)
    if host.switches.get("tcp_loose") and dropping and (early or messages):
        signs = [
            count_of(early, "flow was given up early", "flows were given up early") if early else "",
            count_of(messages, "message of a full table", "messages of a full table") if messages else "",
        ]
        seen = "tcp_loose {0}, {1} active, {2}".format(
            host.switches["tcp_loose"], listed(dropping), " and ".join(filter(None, signs))
        )
        yield finding("picked-up-midstream", INFO, seen)


def strict(host: Seen) -> Iterator[Finding]:
    unload = unloaders(host) if host.state == "loaded" else []
    if host.switches.get("tcp_loose") == 0 and unload:
        yield finding("cut-at-reload", WARNING, "tcp_loose 0, and " + listed(unload))
    invalid = host.part("counters").get("invalid") or 0
    dropping = _dropping(host)
    if host.switches.get("tcp_be_liberal") == 0 and invalid >= INVALID_WARNING and dropping:
        seen = "{0} packets were INVALID since boot, tcp_be_liberal 0, and {1} active".format(invalid, listed(dropping))
        yield finding("invalid-dropped", INFO, seen)


def _dropping(host: Seen) -> List[str]:
    return [name for name in _DROPPING if (host.part("services").get(name) or {}).get("active")]
