# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of a host as it is shown: nothing in it moves a cursor, turns a line round or goes on for ever. Pure."""

from typing import Any, Dict, Iterable

# Characters of a text that is evidence.
LONGEST = 300

# Control characters; marks of direction and others without a width; halves of a pair; ends of lines and paragraphs.
_ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")


def escaped(text: str, newlines: bool = False) -> str:
    r"""``text`` with \x1b and the like for what a terminal would obey. A tab stays, and where asked for an end of a line."""
    if text.isprintable():
        return text
    # Seldom needed, and an import of its own.
    import unicodedata

    kept = "\t\n" if newlines else "\t"
    return "".join(
        _code(char) if char not in kept and unicodedata.category(char) in _ESCAPED else char for char in text
    )


def _code(char: str) -> str:
    number = ord(char)
    form = "\\x{0:02x}" if number < 0x100 else "\\u{0:04x}" if number < 0x10000 else "\\U{0:08x}"
    return form.format(number)


def short(text: str) -> str:
    """The first LONGEST characters of a text, escaped, and how many there are besides."""
    found = escaped(text)
    more = len(found) - LONGEST
    return found if more <= 0 else "{0}... ({1} more)".format(found[:LONGEST], more)


def plain(value: Any) -> Any:
    """A value with all texts in it, names of mappings among them, made short()."""
    if isinstance(value, str):
        return short(value)
    if isinstance(value, dict):
        return {plain(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


# Items of a list that are told of. What decides has been made of all of them.
MOST_TOLD = 50


def shorten(within: Dict[str, Any], names: Iterable[str], left_out: Dict[str, int]) -> None:
    """So much of each of these lists, in its place; how many items are left out is put into ``left_out``."""
    for name in names:
        *folders, last = name.split(".")
        part = within
        for folder in folders:
            part = part.get(folder, {})
        more = len(part.get(last, ())) - MOST_TOLD
        if more > 0:
            left_out[name] = more
            part[last] = part[last][:MOST_TOLD]
