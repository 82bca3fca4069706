# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What conntrackd keeps of the table for another node: as many entries as its configuration says, and no more."""

import re
from typing import Any, Dict

from ..files import CONNTRACKD
from ..host.door import Host
from ..sources.services import is_active

# What it takes where its configuration is silent, since 1.4.7 (init_config in read_config_yy.y); earlier releases take none then.
_DEFAULTS = {"HashSize": 65536, "HashLimit": 262144}
# A word and a number, wherever the lines end; neither stands in any section but General.
_SETTING = re.compile(r"(?<!\S)(HashSize|HashLimit)\s+([0-9]{1,10})(?![0-9])")
# Only then it keeps them for another node, and not to count what passed.
_SYNC = re.compile(r"(?<!\S)Sync\s*\{")
_COMMENT = re.compile("#[^\n]*")


def conntrackd(host: Host) -> Dict[str, Any]:
    found = dict(_DEFAULTS)
    text = _COMMENT.sub("", host.read(CONNTRACKD) or "")
    # The last of each counts.
    found.update((name, int(value)) for name, value in _SETTING.findall(text))
    return {
        "active": is_active(host, "conntrackd"),
        "sync": bool(_SYNC.search(text)),
        "hash_size": found["HashSize"],
        "hash_limit": found["HashLimit"],
    }
