# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rooms hand to one another, and numbers as text has them."""

import re
from typing import Any, Dict, Optional

# ansible_facts.conntrack, as the module conntrack_facts documents it.
Facts = Dict[str, Any]


def as_dict(value: Any) -> Any:
    """NamedTuples, however deep, as the plain dicts and lists that Ansible returns."""
    if hasattr(value, "_asdict"):
        return {name: as_dict(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {name: as_dict(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_dict(item) for item in value]
    return value


# 64 bits have up to 20 decimal digits, and 16 hexadecimal ones. Python would take those of other scripts, and _ between.
_INTEGER = re.compile(r"[ \t\n\v\f\r]*(-?[0-9]{1,20})[ \t\n\v\f\r]*")
_HEXADECIMAL = re.compile("[0-9a-fA-F]{1,16}")


def integer(text: Optional[str]) -> Optional[int]:
    """A file that holds one number, hexadecimal not among them."""
    found = _INTEGER.fullmatch(text or "")
    return int(found.group(1)) if found else None


def natural(text: Optional[str]) -> Optional[int]:
    """The same, of what counts something."""
    number = integer(text)
    return number if number is not None and number >= 0 else None


def hexadecimal(text: str) -> Optional[int]:
    return int(text, 16) if _HEXADECIMAL.fullmatch(text) else None
