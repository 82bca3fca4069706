# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Run a command with further words, which a variable of the environment holds.

usage: words.py VARIABLE COMMAND [ARGUMENT...]

The variable's text is split as a shell splits its own: at blanks and ends of lines, but for those that are quoted or come after a
backslash. Nothing else of a shell is done: no variable, command or pattern in it is anything but text.
"""

from __future__ import annotations

import os
import re
import sys

LONGEST_SHOWN = 100

# One after the other they take any text, but for a quote without its end and a backslash with nothing after it.
PIECE = re.compile(r"""(?s)([ \t\n]+)|\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)"|([^ \t\n\\'"]+)""")
# In double quotes a backslash is only one before these.
ESCAPED = re.compile(r'(?s)\\([$`"\\\n])')


class Unbalanced(Exception):
    """What is quoted has no end."""


def split(text: str) -> list[str]:
    words = []
    word = None
    end = 0
    while end < len(text):
        piece = PIECE.match(text, end)
        if not piece:
            raise Unbalanced
        end = piece.end()
        blank, escaped, single, double, plain = piece.groups()
        if blank:
            if word is not None:
                words.append(word)
            word = None
        elif escaped == "\n":
            continue  # A line that goes on in the next.
        elif double is not None:
            word = (word or "") + ESCAPED.sub(lambda found: found[1].strip("\n"), double)
        else:
            word = (word or "") + (escaped or single or plain or "")
    return words if word is None else [*words, word]


def main(variable: str, *command: str) -> None:
    text = os.environ.get(variable, "")
    try:
        words = split(text)
    except Unbalanced:
        shown = repr(text) if len(text) <= LONGEST_SHOWN else repr(text[:LONGEST_SHOWN]) + "..."
        sys.exit(f"{variable}={shown}: a quote has no end, or a backslash nothing after it; quote as for a shell.")
    os.execvp(command[0], [*command, *words])


if __name__ == "__main__":
    main(*sys.argv[1:])
