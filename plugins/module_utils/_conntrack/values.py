# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the layers hand to one another."""

from typing import Any, Dict

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
