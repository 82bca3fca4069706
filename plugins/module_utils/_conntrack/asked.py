# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that go through the table, read strictly. Each raises readers.Wrong, whose text is whole."""

from typing import Any, Container, Dict, Mapping, Optional

from . import readers
from .profiles import PROFILES


def whole(option: str, value: Any, low: int, high: int, unit: str) -> int:
    """A whole number within bounds."""
    return int(_read(option, value, readers.whole(low, high, unit)))


def timeouts(profile: Optional[str], single: Mapping[str, Any]) -> Dict[str, int]:
    """Seconds by name: those of a profile, if any, with single ones over them."""
    found = PROFILES[_read("timeout_profile", profile, readers.one_of(PROFILES))].seconds() if profile else {}
    return dict(found, **_read("timeouts", single, readers.timeouts()))


def known(option: str, value: Any, names: Container[str], what: str) -> str:
    """One of some names."""
    if value not in names:
        raise readers.Wrong(readers.problem(option, value, "expected " + what))
    return str(value)


def _read(option: str, value: Any, reader: readers.Reader) -> Any:
    try:
        return reader(value)
    except readers.Wrong as wrong:
        raise readers.Wrong(readers.problem(option, value, str(wrong))) from None
