# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What network cards say of a cloud that tracks connections, too, beside the kernel: those of EC2, whose driver is ena, tell how
many packets were dropped because the instance may track no more of them, and how many more it may."""

from typing import Iterable

from ..host.door import Host
from ..values import Facts

# Interfaces that are asked; an instance has fifteen.
MOST_CARDS = 32
_EXCEEDED, _AVAILABLE = "conntrack_allowance_exceeded", "conntrack_allowance_available"


def cloud(host: Host, folders: Iterable[str]) -> Facts:
    """Of the interfaces in these folders those that tell; nothing where none does."""
    names = [name for folder in folders for name in host.list(folder)]
    counted = [(name, host.card(name)) for name in names[:MOST_CARDS]]
    found = [
        {"interface": name, "driver": "ena", "exceeded": card.get(_EXCEEDED), "available": card.get(_AVAILABLE)}
        for name, card in counted
        if _EXCEEDED in card or _AVAILABLE in card
    ]
    return {"cloud": found} if found else {}
