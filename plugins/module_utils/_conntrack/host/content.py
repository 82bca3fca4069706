# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are no text, through the door. Few hosts have one that is needed."""

from typing import Optional

from .door import Host


def content(host: Host, path: str, limit: int) -> Optional[bytes]:
    """The bytes of a regular file; None where there is none to be had, or more than ``limit`` of them."""
    return host._bytes(path, limit)
