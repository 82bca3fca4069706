# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many entries of the table belong to each flow: of a sample, reckoned for all of it. Those are what is saved."""

from bisect import bisect_right
from typing import Any, Dict, List, Sequence, Tuple

from ..entries.census import reckoned
from ..entries.entry import NUMBERS
from ..entries.netlink import Layout
from ..entries.reading import TableError, flavour_in_use, read
from ..host.door import Host
from ..kernel import sysctl_path
from ..values import integer
from .flows import SERVER, Flow, spans

# Entries that are looked at.
SAMPLE = 20000


class _Tally:
    """Entries by the flow that they belong to; the first that a flow's ports and networks are met by."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        self.counts = {flow.name: 0 for flow in flows}
        self._flows: Dict[int, List[Tuple[Flow, List[Tuple[int, int, int]]]]] = {}
        for flow in flows:
            ordered = spans(flow.networks or ())
            self._flows.setdefault(NUMBERS[flow.protocol], []).append((flow, ordered))

    def add(self, layout: Layout, block: bytes) -> None:
        flows = self._flows.get(layout.protocol)
        reader, names = layout.reader({"source": None, "destination": None, "destination_port": None})
        if not flows or "destination_port" not in names:
            return
        for raw in reader.iter_unpack(block):
            parts = dict(zip(names, raw))
            for flow, networks in flows:
                if any(low <= parts["destination_port"] <= high for low, high in flow.ports) and _within(
                    networks, flow, parts
                ):
                    self.counts[flow.name] += 1


def _within(networks: List[Tuple[int, int, int]], flow: Flow, parts: Dict[str, Any]) -> bool:
    if flow.networks is None:
        return True
    address = parts["source" if flow.role == SERVER else "destination"]
    version, number = (4 if len(address) == 4 else 6), int.from_bytes(address, "big")
    place = bisect_right(networks, (version, number, 2**128)) - 1
    return place >= 0 and networks[place][0] == version and networks[place][2] >= number


def counted(host: Host, flows: Sequence[Flow]) -> List[Dict[str, Any]]:
    """For each flow its entries, their share of all, and the margin of that."""
    names = flavour_in_use(host)
    tally = _Tally(flows)
    examined = total = 0
    if names and flows:
        try:
            found = read(host, names, SAMPLE, tally.add)
        except TableError:
            # A table that cannot be read keeps nothing from being changed.
            tally = _Tally(flows)
        else:
            examined = found.examined
            count = integer(host.read(sysctl_path(names.prefix + "count"))) or 0
            total = examined if found.all else max(examined, count)
    told = []
    for flow in flows:
        entries, share, margin = reckoned(tally.counts[flow.name], examined, total)
        told.append(
            {
                "name": flow.name,
                "protocol": flow.protocol,
                "role": flow.role,
                "entries": entries,
                "share": share,
                "margin": margin,
            }
        )
    return told
