# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All facts of a host at once, where they are wanted on the host itself."""

from typing import Iterable

from ..host.door import Host
from ..values import Facts
from .foretold import foretold
from .reading import read


def gather(host: Host, subsets: Iterable[str]) -> Facts:
    """What was read of ``host``, always state, flavour, kernel, memory, cpus and history, and what the subsets add; and what will be."""
    return foretold(read(host, subsets))
