# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file sets that a shell reads in with ``.``, as bash takes it. Pure, and total."""

import re
from typing import Iterator, List, NamedTuple, Optional, Tuple


class Setting(NamedTuple):
    """One ``NAME=value`` of such a file."""

    line: int  # its first
    value: str  # quotes taken off; as it stands where the shell would make something else of it
    is_plain: bool  # whether the shell makes nothing else of it
    is_alone: bool  # whether it is all that its line says


_PIECE = r"""\\[\s\S]|'[^']*'|"(?:\\[\s\S]|[^"\\])*"|\$\([^()]*\)|\$|`[^`]*`|[^ \t\n;&|()<>'"`\\$]+"""
_PIECES = re.compile(_PIECE)
_TOKEN = re.compile(
    r"(?P<blank>(?:[ \t]|\\\n)+|#[^\n]*)|(?P<end>\n)|(?P<operator>[;&|]+|[()])|(?P<redirection>[0-9]*[<>]+[&|]?)"
    r"|(?P<word>(?:" + _PIECE + ")+)"
)
# After these, assignments stay assignments.
_DECLARES = ("export", "declare", "typeset", "readonly")
# A command that ends with one of these is not the shell's own, nor, but for the first, what comes after it.
_APART = ("&", "(", ")", "|", "|&")

# Words with the numbers of their lines, and whether the shell itself runs them: not in a pipe, the background or a subshell.
_Command = Tuple[List[Tuple[str, int]], bool]


def settings(text: str, name: str) -> List[Setting]:
    """What it sets ``name`` to, one after another: the last is what counts."""
    found = []
    for commands, is_one_line in _units(text):
        for words, is_own in commands:
            declared = words[:1] and words[0][0] in _DECLARES
            said = [word for word in words[1:] if not word[0].startswith("-")] if declared else words
            # Before a command, an assignment is for that command.
            if not is_own or not (declared or all(re.match(r"\w+\+?=", word) for word, _line in said)):
                continue
            for word, line in said:
                if word.startswith(name + "="):
                    value, is_plain = _unquoted(word[len(name) + 1 :])
                    found.append(Setting(line, value, is_plain, is_one_line and len(commands) == len(said) == 1))
    return found


def _units(text: str) -> Iterator[Tuple[List[_Command], bool]]:
    """The commands that end with the same line, and whether they are one line. What cannot be read ends it, as in the shell."""
    commands: List[_Command] = []
    words: List[Tuple[str, int]] = []
    is_own, is_target, depth, line, begun, place = True, False, 0, 1, 1, 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            return
        place, kind, said = token.end(), token.lastgroup, token.group()
        if kind == "word":
            words += [] if is_target else [(said, line)]
            is_target = False
        elif kind == "redirection":
            is_target = True
        elif kind in ("end", "operator"):
            depth += (said == "(") - (said == ")")
            if depth < 0:
                return
            commands.append((words, is_own and said not in _APART))
            words, is_own, is_target = [], not depth and said not in _APART[1:], False
            if kind == "end" and not depth:
                yield [one for one in commands if one[0]], line == begun
                commands, begun = [], line + 1
        line += said.count("\n")
    if not depth:
        commands.append((words, is_own))
        yield [one for one in commands if one[0]], line == begun


def _unquoted(word: str) -> Tuple[str, bool]:
    """A value without its quotes; or as it stands, where something is put in its place."""
    value = ""
    for piece in _PIECES.findall(word):
        if piece[0] == "\\":
            value += "" if piece[1] == "\n" else piece[1]
        elif piece[0] == "'":
            value += piece[1:-1]
        elif piece[0] == '"':
            if re.search(r"(?:^|[^\\])(?:\\\\)*[$`]", piece):
                return word, False
            value += re.sub(r'\\([$`"\\\n])', lambda found: found.group(1).strip("\n"), piece[1:-1])
        elif "$" in piece or "`" in piece:
            return word, False
        else:
            value += piece
    return value, True


def last(text: Optional[str], name: str) -> Optional[Setting]:
    found = settings(text or "", name)
    return found[-1] if found else None
