# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One who sets keys, and what is a line of a file that does."""

from typing import TYPE_CHECKING, Dict, Iterator, NamedTuple, Optional, Tuple

from .. import kernel

if TYPE_CHECKING:
    # Few hosts have such a call.
    from ..sources.udev import Sysctl


class Owner(NamedTuple):
    """One line or setting that sets keys of connection tracking."""

    name: str
    keys: Dict[str, Optional[int]]  # what it sets them to; None where that cannot be told
    evidence: str
    path: Optional[str]  # path, line and text of the line that could be commented out
    line: Optional[int]
    text: Optional[str]
    at_boot: bool  # whether it writes after systemd-sysctl at each boot, so that it wins
    remedy: str
    yields: bool = False  # whether it applies sysctl.d again after itself, so that a key there wins
    call: Optional["Sysctl"] = None  # which files it applies, where it says nothing of keys itself


class Claim(NamedTuple):
    """What pretends to set keys, and was passed over."""

    what: str
    whose: str
    why: str  # it was passed over


def lines_of(text: Optional[str]) -> Iterator[Tuple[int, str]]:
    """Numbered as editors do, for which a form feed is no end of a line."""
    return enumerate((text or "").split("\n"), 1)


def of_line(
    name: str,
    keys: Dict[str, Optional[int]],
    path: str,
    line: int,
    text: str,
    at_boot: bool,
    remedy: str,
    yields: bool = False,
) -> Owner:
    text = text.rstrip("\r")
    evidence = "{0}:{1}: {2}".format(path, line, text.strip()[:200])
    return Owner(name, keys, evidence, path, line, text, at_boot, remedy, yields)


def sysctl_lines(text: Optional[str], names: kernel.Flavour) -> Iterator[Tuple[str, Tuple[int, str, Optional[int]]]]:
    """The lines of a sysctl file that set these keys: the key, and its line's number, text and value."""
    from .commands import plain_number, sysctl_key

    for number, line in lines_of(text):
        name, sep, value = line.partition("=")
        key = sysctl_key(name.strip().lstrip("-"), names)
        if sep and key:
            yield key, (number, line, plain_number(value))
