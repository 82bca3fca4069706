# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a change is refused or fails."""

import errno
import re
from typing import Any

from ..host.writing import WritableHost

_REMEDIES = {
    errno.ENOSPC: "make room on it",
    errno.EDQUOT: "the quota of root is used up there: make room, or raise it",
    errno.EROFS: "remount it writable, or have its settings made where it is built",
    errno.EPERM: "it may be immutable: lsattr tells, chattr -i ends that",
    errno.EACCES: "a policy such as SELinux or AppArmor may forbid it: see the audit log",
    errno.EFBIG: "it is too long to be kept; nothing of that length belongs there",
    errno.EIO: "the disk may fail: see the kernel's log",
}


class ChangeError(Exception):
    """Refused or failed; the text says what was expected, what was found, and what to do. ``told`` is for programs."""

    def __init__(self, text: str, **told: Any) -> None:
        super().__init__(text)
        self.told = told


def stale(what: str) -> ChangeError:
    """What was planned from has changed: reading and planning anew is all it takes."""
    return ChangeError("{0}: changed since it was read; run again".format(what), stale=True)


def unwritten(host: WritableHost, doing: str, path: str, error: OSError) -> ChangeError:
    """What the file system said, which one it is, and what to do."""
    said = error.strerror or str(error)
    place = "file system {0}".format(_mount(host, path))
    remedy = _REMEDIES.get(error.errno or 0)
    return ChangeError("{0} {1} failed: {2} ({3}{4})".format(doing, path, said, place, "; " + remedy if remedy else ""))


def _mount(host: WritableHost, path: str) -> str:
    """The mount that a path is on: where, and of what kind."""
    found, kind = "/", "of unknown kind"
    for line in (host.read("/proc/self/mountinfo") or "").split("\n"):
        fields, _sep, source = line.partition(" - ")
        words = fields.split(" ")
        if len(words) < 6 or not source:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code.group(1), 8)), words[4])
        within = path == point or path.startswith(point.rstrip("/") + "/")
        # Of mounts on one another the last one is seen.
        if within and len(point) >= len(found):
            found = point
            kind = "{0}, {1}".format(source.split(" ")[0], "read-only" if "ro" in words[5].split(",") else "writable")
    return "{0}, {1}".format(found, kind)
