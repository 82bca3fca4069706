# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries are to be shortened, and to what: the options of the module conntrack_expire."""

from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from .. import asked, kernel, readers
from . import entry as entries
from .reading import TableError


class Network(NamedTuple):
    """Addresses that begin alike."""

    size: int  # bytes of an address
    unused: int  # bits behind the prefix
    prefix: int

    def holds(self, packed: bytes) -> bool:
        return len(packed) == self.size and int.from_bytes(packed, "big") >> self.unused == self.prefix


class Match(NamedTuple):
    """Which entries are meant; what is empty means all."""

    protocol: Tuple[str, ...] = ()
    state: Tuple[str, ...] = ()
    source_network: Tuple[Network, ...] = ()
    destination_network: Tuple[Network, ...] = ()
    destination_port: Tuple[int, ...] = ()

    def means(self, parts: Mapping[str, Any]) -> bool:
        """Whether an entry has such addresses, and such a port."""
        return (
            _within(parts["source"], self.source_network)
            and _within(parts["destination"], self.destination_network)
            and (not self.destination_port or parts.get("destination_port") in self.destination_port)
        )


def _within(packed: bytes, networks: Tuple[Network, ...]) -> bool:
    return not networks or any(network.holds(packed) for network in networks)


class Wanted(NamedTuple):
    """What is asked for."""

    timeouts: Optional[Dict[str, int]] = None  # seconds; None for those that the kernel has now
    match: Match = Match()
    limit: Optional[int] = None  # entries to shorten
    rate: Optional[int] = None  # entries a second
    most: Optional[int] = (
        None  # entries that are shortened without a second word, 0 for all; None for half of the table
    )
    under_policies: bool = False  # whether to shorten what a timeout policy may have given as well


def read_options(options: Mapping[str, Any]) -> Wanted:
    """The options of the module. Raises TableError for what would not do."""
    match = options["match"] or {}
    try:
        return Wanted(
            asked.timeouts(options["timeout_profile"], options["timeouts"])
            if options["timeout_profile"] or options["timeouts"]
            else None,
            Match(**{name: tuple(_MATCHED[name](value) for value in match.get(name) or ()) for name in _MATCHED}),
            asked.whole("limit", options["limit"], 0, kernel.LARGEST_LIMIT, "entries") or None,
            asked.whole("rate", options["rate"], 0, kernel.LARGEST_LIMIT, "entries a second") or None,
            None
            if options["most"] is None
            else asked.whole("most", options["most"], 0, kernel.LARGEST_LIMIT, "entries"),
            options["under_policies"],
        )
    except readers.Wrong as wrong:
        raise TableError(str(wrong)) from None


def _network(text: Any) -> Network:
    # Seldom asked for, and slow to import.
    import ipaddress

    try:
        found = ipaddress.ip_network(str(text))
    except ValueError as error:
        expected = "expected a network such as 10.0.0.0/8 ({0})".format(error)
        raise readers.Wrong(readers.problem("match", text, expected)) from None
    unused = found.max_prefixlen - found.prefixlen
    return Network(found.max_prefixlen // 8, unused, int(found.network_address) >> unused)


_MATCHED: Dict[str, Callable[[Any], Any]] = {
    "protocol": lambda value: asked.known("match", value, entries.NUMBERS, "one of " + ", ".join(entries.NUMBERS)),
    "state": lambda value: asked.known("match", value, entries.STATE_NAMES, "a state such as ESTABLISHED or UNREPLIED"),
    "source_network": _network,
    "destination_network": _network,
    "destination_port": lambda value: asked.whole("match", value, 0, 65535, "the port"),
}
