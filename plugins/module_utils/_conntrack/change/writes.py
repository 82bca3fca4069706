# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as asked: what is there, what will be, and why root must not write there."""

import posixpath
from typing import Dict, Iterable, List, NamedTuple, Sequence

from ..files import MODE
from ..host.writing import Kept, WritableHost
from ..journal.store import missing
from .failure import ChangeError, stale, unwritten
from .request import Asked, FileAsked, LineAsked

_LISTS = ("system.posix_acl_access", "system.posix_acl_default")


class Write(NamedTuple):
    """One path: what is there, and what is to be."""

    path: str
    before: Kept
    after: Kept


def writes(host: WritableHost, asked: Asked) -> List[Write]:
    """What differs from what is asked for. Raises ChangeError for what must not be written, or is not as the plan saw it."""
    found = [_whole(host, one, asked.takeover) for one in asked.files]
    by_path: Dict[str, List[LineAsked]] = {}
    for line in asked.lines:
        by_path.setdefault(line.path, []).append(line)
    found += [_edited(host, path, lines) for path, lines in by_path.items()]
    found = [one for one in found if not as_wanted(one.before, one.after)]
    for one in found:
        refuse_exposed(host, one.path)
    return found


def as_wanted(found: Kept, wanted: Kept) -> bool:
    """Whether nothing needs to be written: attributes are carried over, never asked for."""
    if found.kind != wanted.kind or wanted.kind == "none":
        return found.kind == wanted.kind
    if wanted.kind == "link":
        return (found.target, found.uid, found.gid) == (wanted.target, wanted.uid, wanted.gid)
    return found._replace(attributes={}) == wanted._replace(attributes={})


def folders(host: WritableHost, paths: Iterable[str]) -> List[str]:
    """The folders that have to be made for files at these paths, each after the one it is in."""
    found: List[str] = []
    for path in paths:
        found += [folder for folder in missing(host, posixpath.dirname(path)) if folder not in found]
    return found


def refuse_exposed(host: WritableHost, path: str) -> None:
    folder = posixpath.dirname(path)
    why = host.exposed(folder)
    if why:
        raise ChangeError(
            "{0}: {1}, so that root cannot write there safely; chown root, chmod go-w".format(folder, why)
        )


def there(host: WritableHost, path: str) -> Kept:
    """What stands at a path. Raises ChangeError where that cannot be read, or be made again."""
    try:
        found = host.kept(path)
    except OSError as error:
        raise unwritten(host, "reading", path, error) from None
    if found.kind == "other":
        raise ChangeError("{0}: it is no regular file, nor a link; take it away".format(path))
    return found


def _whole(host: WritableHost, asked: FileAsked, takeover: bool) -> Write:
    before = there(host, asked.path)
    content = asked.content.encode("utf-8")
    # What has come to be as asked meanwhile is no reason to ask anew.
    if asked.found is not None and before.content != content:
        file = host.file(asked.path)
        if (file.sha256 if file else "") != asked.found:
            raise stale(asked.path)
    if before.kind == "link" and not takeover:
        raise ChangeError(
            "{0}: a link to {1} is there, which somebody has put in the place of this file{2}; remove it, or set "
            "takeover=true (conntrack_takeover), which replaces it and can be undone".format(
                asked.path, before.target, " to mask it" if before.target == "/dev/null" else ""
            )
        )
    uid, gid = host.owner()
    # Labels stay; who else may write it does not.
    attributes = {name: value for name, value in before.attributes.items() if name not in _LISTS}
    return Write(asked.path, before, Kept("file", content, "", int(MODE, 8), uid, gid, attributes))


def _edited(host: WritableHost, path: str, asked: Sequence[LineAsked]) -> Write:
    """The file with each line that was found, wherever it stands and blanks around it apart, replaced by the wanted one. What was
    found nowhere, an empty text, is put at the end, where it is not the last line already; a file of nothing else is made."""
    before = there(host, path)
    added = [_bytes(one.wanted) for one in asked if not one.found.strip()]
    wanted = {one.found.strip(): _bytes(one.wanted) for one in asked if one.found.strip()}
    if before.kind == "none" and wanted:
        raise stale(path)
    if before.kind == "link":
        raise ChangeError("{0}: a link to {1}; name the file itself".format(path, before.target))
    why = host.exposed(path)
    if why:
        raise ChangeError("{0}: {1}, so that what it says is nobody's word; chown root, chmod go-w".format(path, why))
    swapped = set()
    lines = before.content.split(b"\n")
    for number, line in enumerate(lines):
        # What is no text stays as it is.
        found = line.decode("utf-8", "surrogateescape").strip()
        if found in wanted:
            swapped.add(found)
            lines[number] = wanted[found] + (b"\r" if line.endswith(b"\r") else b"")
    for found in wanted:
        if found not in swapped:
            raise stale("{0}: there is no line {1!r}".format(path, found))
    content = b"\n".join(lines)
    for line in added:
        if content.rstrip().rpartition(b"\n")[2].strip() != line:
            content += (b"\n" if content and not content.endswith(b"\n") else b"") + line + b"\n"
    if before.kind == "none":
        uid, gid = host.owner()
        return Write(path, before, Kept("file", content, "", int(MODE, 8), uid, gid))
    return Write(path, before, before._replace(content=content))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
