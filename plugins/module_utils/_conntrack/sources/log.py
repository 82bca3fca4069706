# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel has said about a full table, and in what that stands."""

from typing import List, NamedTuple, Optional

# In all of them: a log without it is not gone through.
TELLING = "table full"
RING = "kernel ring buffer"


class Log(NamedTuple):
    """Messages of a full table. A message stands in several sources: the counts are those of the one that has most."""

    table_full: int
    suppressed: int  # messages that the kernel kept to itself, of a full table for the most part
    first_seen: Optional[str]  # ISO 8601, UTC
    last_seen: Optional[str]
    netns: List[int]  # inodes of namespaces other than the first, where the kernel says them
    source: List[str]  # what could be read, the one that has most first
