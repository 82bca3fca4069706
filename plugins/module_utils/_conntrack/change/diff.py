# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change makes of files and values, in the form that Ansible shows. Pure."""

from typing import Dict, List, Mapping, Optional, Sequence

from ..host.writing import Kept
from .writes import Write

# Characters of a text that are shown; of longer ones it is said how many there are.
LONGEST = 50000

Diff = Dict[str, str]


def diff(
    writes: Sequence[Write], before: Mapping[str, Optional[int]], after: Mapping[str, Optional[int]]
) -> List[Diff]:
    """For each file, and one for all live values."""
    shown = [_of_file(one) for one in writes]
    return shown + ([_shown("live kernel", _lines(before), _lines(after))] if before else [])


def _of_file(write: Write) -> Diff:
    before, after = _text(write.before), _text(write.after)
    if before == after:
        before, after = _owner(write.before), _owner(write.after)
    return _shown(write.path, before, after)


def _text(kept: Kept) -> str:
    if kept.kind == "link":
        return "link to {0}\n".format(kept.target)
    text = kept.content.decode("utf-8", "replace")
    return text if len(text) <= LONGEST else "{0} characters\n".format(len(text))


def _owner(kept: Kept) -> str:
    return "mode {0:04o}, user {1}, group {2}\n".format(kept.mode, kept.uid, kept.gid)


def _lines(values: Mapping[str, Optional[int]]) -> str:
    return "".join("{0} = {1}\n".format(name, values[name]) for name in sorted(values))


def _shown(header: str, before: str, after: str) -> Diff:
    return {"before": before, "after": after, "before_header": header, "after_header": header}
