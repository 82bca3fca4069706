# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What Dump makes of answers, and what a plain reader makes of them, in a form in which they are equal."""

from collections import Counter

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.netlink import Dump
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    DONE,
    ERROR,
    NEW,
    SEQUENCE,
    cut,
    kind_of,
    plainly,
    sequence_of,
)


def told(answers, most=None):
    """The entries of all blocks, by their parts, and the dump."""
    dump, found = Dump(SEQUENCE, most), Counter()
    for layout, block in dump.blocks(answers):
        reader, names = layout.reader({name: None for name, _offset, _code in layout.parts})
        assert len(block) % layout.length == 0
        for values in reader.iter_unpack(block):
            found[frozenset(dict(zip(names, values), protocol=layout.protocol).items())] += 1
    return found, dump


def expected(answers):
    """The same, one message after the other: entries, how many are skipped or forged, and unknown attributes."""
    found, skipped, forged, unknown = Counter(), 0, 0, 0
    for answer in answers:
        ended = False
        for message in cut(answer):
            if message is not None and sequence_of(message) != SEQUENCE:
                forged += 1
                continue
            kind = None if message is None else kind_of(message)
            parts = plainly(message) if kind == NEW else None
            if parts:
                unknown += parts.pop("unknown")
                found[frozenset(parts.items())] += 1
            elif kind in (ERROR, DONE):
                ended = True
            else:
                skipped += 1
        if ended:
            break
    return found, skipped, forged, unknown


def agree(answers):
    """Whether they do, in everything; gives what was found."""
    found, dump = told(answers)
    entries, *numbers = expected(answers)
    assert found == entries
    assert [dump.examined, dump.skipped, dump.forged, dump.unknown] == [sum(entries.values()), *numbers]
    return found
