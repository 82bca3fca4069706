# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps connection tracking out of a kernel for good: files, and lines that would have it loaded."""

import posixpath
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence

from ..host.writing import WritableHost
from ..sourced import settings

TEXT = """\
# headroom.netfilter: conntrack_unload keeps connection tracking out of this kernel. To have it back: conntrack_unload_state=restored
install {0} /bin/false
"""
# Red Hat's, and the words of which the modules in them are loaded at each start of the service.
_CONFIGURATIONS = (
    ("/etc/sysconfig/iptables-config", "IPTABLES_MODULES"),
    ("/etc/sysconfig/ip6tables-config", "IP6TABLES_MODULES"),
)
_OURS = re.compile(r"(ip|nf)_(conntrack|nat)(_.*)?|(xt|ip6?t|nft)_(conntrack|state|nat|ct|masq)|ip6?table_nat")


class Line(NamedTuple):
    """One that would have it loaded, and what is to be in its place."""

    path: str
    line: int
    found: str
    wanted: str


def lines(host: WritableHost, early: Sequence[Dict[str, Any]]) -> List[Line]:
    """``early``: what has modules loaded at a boot, as facts have it."""
    return list(_early(host, early)) + list(_configured(host))


def _early(host: WritableHost, early: Sequence[Dict[str, Any]]) -> Iterator[Line]:
    for one in early:
        path = one["path"]
        if not one["brings"] or not path.startswith("/etc/"):
            continue
        target = host.link(path)
        file = posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) if target else path
        rows = (host.read(file) or "").split("\n")
        if 0 < one["line"] <= len(rows):
            found = rows[one["line"] - 1].strip()
            yield Line(file, one["line"], found, "# headroom.netfilter: " + found)


def elsewhere(early: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """What has it loaded at a boot and is nobody's to edit."""
    return [one for one in early if one["brings"] and not one["path"].startswith("/etc/")]


def _configured(host: WritableHost) -> Iterator[Line]:
    """Of the modules that such a file names, those of conntrack are taken out, and the rest of the line stays as it is."""
    for path, name in _CONFIGURATIONS:
        text = host.read(path)
        rows = (text or "").split("\n")
        for setting in settings(text or "", name):
            row = rows[setting.line - 1].strip()
            words = setting.value.split()
            gone = [word for word in words if _OURS.fullmatch(word.replace("-", "_"))]
            if not (gone and setting.is_plain and setting.is_alone):
                continue
            wanted = row
            for word in gone:
                wanted = re.sub(r"(?<![\w-]){0}(?![\w-])[ \t]*".format(re.escape(word)), "", wanted, count=1)
            yield Line(path, setting.line, row, re.sub(r"[ \t]+([\"'])$", r"\1", wanted))
