# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change is to be: the options of the module conntrack_settings, read strictly. Pure."""

import posixpath
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from .. import kernel, readers
from ..journal.heads import is_name
from .failure import ChangeError

# Seconds. A change takes one or two.
LONGEST_WAIT = 3600
_EVENTS = ("boot", "reload")


class FileAsked(NamedTuple):
    path: str
    content: str
    found: Optional[str]  # the sha256 that the plan saw, "" for no file; None where that does not matter


class LineAsked(NamedTuple):
    path: str
    found: str
    wanted: str


class Asked(NamedTuple):
    """What is asked for; None and missing names are left alone."""

    id: Optional[str] = None
    files: Tuple[FileAsked, ...] = ()
    lines: Tuple[LineAsked, ...] = ()
    max: Optional[int] = None
    buckets: Optional[int] = None
    expect_max: Optional[int] = None
    timeouts: Dict[str, int] = {}
    switches: Dict[str, int] = {}
    found: Dict[str, Optional[int]] = {}  # live values as the plan saw them
    expected: Dict[str, Dict[str, int]] = {}  # by event, what will be after it
    refusals: Tuple[str, ...] = ()
    takeover: bool = False
    initramfs: bool = False
    shrink: bool = False
    target: str = "host"
    lock_seconds: int = 60
    who: str = ""


def read(options: Mapping[str, Any]) -> Asked:
    """Raises ChangeError for what would not do."""
    found, wrong = readers.read_each(options, _READERS)
    if wrong:
        raise ChangeError("; ".join(wrong.values()))
    asked = Asked(**found)
    both = {one.path for one in asked.files} & {one.path for one in asked.lines}
    if both or len({one.path for one in asked.files}) < len(asked.files):
        raise ChangeError("files: {0}: named twice".format(", ".join(sorted(both)) or "a path"))
    return asked


def _name(value: Any) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise readers.Wrong("expected up to 64 letters, digits, dots, dashes and underscores")
    return str(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise readers.Wrong("expected a text")
    return str(value)


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or posixpath.normpath(value) != value or "\0" in value:
        raise readers.Wrong("{0}: expected a path from / on".format(readers.shown(value)))
    return str(value)


def _line(value: Any) -> str:
    if not isinstance(value, str) or "\n" in value:
        raise readers.Wrong("{0}: expected one line".format(readers.shown(value)))
    return str(value)


def _each(value: Any) -> List[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise readers.Wrong("expected a list of mappings")
    return value


def _files(value: Any) -> Tuple[FileAsked, ...]:
    return tuple(FileAsked(_path(one.get("path")), _text(one.get("content")), one.get("found")) for one in _each(value))


def _lines(value: Any) -> Tuple[LineAsked, ...]:
    return tuple(
        LineAsked(_path(one.get("path")), _line(one.get("found")), _line(one.get("wanted"))) for one in _each(value)
    )


def _refusals(value: Any) -> Tuple[str, ...]:
    if not isinstance(value, list):
        raise readers.Wrong("expected a list of texts")
    return tuple(_text(one) for one in value)


_VALUE = readers.whole(0, 2**63, "a value of the kernel")


def _values(value: Any) -> Dict[str, Optional[int]]:
    if not isinstance(value, Mapping):
        raise readers.Wrong("expected a mapping such as {hashsize: 65536}")
    return {_text(key): None if item is None else _VALUE(item) for key, item in value.items()}


def _events(value: Any) -> Dict[str, Dict[str, Optional[int]]]:
    if not isinstance(value, Mapping) or not set(value) <= set(_EVENTS):
        raise readers.Wrong("expected a mapping of boot and reload")
    return {event: _values(value[event] or {}) for event in value}


_READERS: Dict[str, readers.Reader] = {
    "max": readers.whole(1, kernel.LARGEST_LIMIT, "entries"),
    "buckets": readers.whole(1, kernel.LARGEST_HASHSIZE, "buckets"),
    # 0 lets none in, where a limit of 0 is none at all.
    "expect_max": readers.whole(0, kernel.LARGEST_LIMIT, "expectations"),
    "timeouts": readers.timeouts(),
    "switches": readers.switches,
    "shrink": readers.truth,
    "id": _name,
    "files": _files,
    "lines": _lines,
    "found": _values,
    "expected": _events,
    "refusals": _refusals,
    "takeover": readers.truth,
    "initramfs": readers.truth,
    "target": readers.one_of(("host", "image")),
    "lock_seconds": readers.whole(0, LONGEST_WAIT, "seconds"),
    "who": _text,
}
