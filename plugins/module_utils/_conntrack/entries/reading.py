# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of a host's table: through ctnetlink, or else from /proc. Loads no module but, as conntrack does, ctnetlink's."""

import contextlib
import errno
import os
import re
from typing import Any, Callable, Dict, NamedTuple, Optional

from .. import kernel
from ..host.door import Host
from ..sources.namespaces import door
from ..sources.tracking import live_buckets, state_and_flavour
from .listing import Listing
from .netlink import Dump, Layout, dump_request

CTNETLINK = "ctnetlink"

# As often a table is gone through that is resized meanwhile, or of which some is lost on the way.
ATTEMPTS = 3
# Seconds. What work in another network namespace may take, waiting for its own sake aside: as long as all attempts may.
LONGEST_WORK = 600.0

_NAMESPACE = re.compile(r"[^/\0]{1,255}")

Take = Callable[[Layout, bytes], Optional[bool]]

# What is received is not whole then: too much came at once, or took too long.
LOST = (errno.ENOBUFS, errno.EMSGSIZE, errno.ETIMEDOUT)


class TableError(Exception):
    """The table cannot be read or changed; the text says why, and what to do."""


class Table(NamedTuple):
    """What has been read."""

    source: Optional[str]  # ctnetlink, or the file; None where connection tracking is not loaded
    examined: int
    all: bool  # whether these are all there were
    skipped: int  # entries that could not be read
    unknown: int  # attributes that are not known
    interrupted: bool  # the table was resized meanwhile, or some was lost: entries may be missing, or be there twice
    late: bool  # it took too long, and would again
    forged: int  # messages that were passed over, as they are not the kernel's, or no answer


NOTHING = Table(None, 0, True, 0, 0, False, False, 0)


def within(
    host: Host, namespace: Optional[str], work: Callable[[], Dict[str, Any]], longest: float = LONGEST_WORK
) -> Dict[str, Any]:
    """What ``work`` gives in a network namespace: a name of ip netns, the number of a process, or the inode as the facts have
    it; in the own one where none is named. Raises TableError, also where work does."""
    if namespace is None or namespace == "":
        return work()
    path = door(host, namespace) if _NAMESPACE.fullmatch(namespace) else None
    if path is None and host.unreadable and not host.is_root():
        raise TableError(
            "namespace: {0!r} is not among those that this user may look at: expected CAP_SYS_PTRACE to look at processes "
            "of others, and CAP_SYS_ADMIN to enter what they are in; run as root, with become: true".format(namespace)
        )
    if path is None:
        raise TableError(
            "namespace: {0!r} is not there; expected a name that ip netns lists, the number of a process, "
            "or an inode as ansible_facts.conntrack.namespaces has it".format(namespace)
        )
    try:
        answer = host.within(path, lambda: _answer(work), longest)
    except PermissionError as error:
        raise TableError(
            "namespace: {0!r} cannot be entered ({1}): expected CAP_SYS_ADMIN; run as root, with become: true".format(
                namespace, error.strerror
            )
        ) from None
    except OSError as error:
        raise TableError("namespace: {0!r} cannot be worked in ({1})".format(namespace, error.strerror)) from None
    if answer["wrong"] is not None:
        raise TableError(answer["wrong"])
    found: Dict[str, Any] = answer["found"]
    return found


def _answer(work: Callable[[], Dict[str, Any]]) -> Dict[str, Any]:
    try:
        return {"found": work(), "wrong": None}
    except TableError as error:
        return {"found": None, "wrong": str(error)}


def flavour_in_use(host: Host) -> Optional[kernel.Flavour]:
    """None where connection tracking is not loaded: to ask for entries would load it."""
    state, flavour = state_and_flavour(host)
    return kernel.FLAVOURS[flavour] if state in ("loaded", "builtin") else None


def read(host: Host, names: kernel.Flavour, most: Optional[int], take: Take, updating: bool = False) -> Table:
    """Hand the entries, or the first ``most``, to ``take``, until it says that it has enough; through ctnetlink alone
    where they are to be updated. Raises TableError."""
    before = live_buckets(host, names)
    path = "/proc/net/" + names.module
    try:
        found = _through_ctnetlink(host, most, take, updating)
    except OSError as refusal:
        found = NOTHING if updating else _from_file(host, path, most, take)
        if found.source is None:
            raise TableError(why(refusal, None if updating else path)) from None
    return found._replace(interrupted=found.interrupted or live_buckets(host, names) != before)


def _through_ctnetlink(host: Host, most: Optional[int], take: Take, updating: bool) -> Table:
    enough = late = False
    with contextlib.closing(host.netfilter()) as conversation:
        dump = Dump(conversation.sequence, most, prompt=updating)
        conversation.send(dump_request(conversation.sequence))
        with contextlib.closing(conversation.answers()) as answers:
            try:
                enough = any(take(layout, block) for layout, block in dump.blocks(answers))
            except OSError as error:
                if error.errno not in LOST and not dump.examined:
                    raise
                # Some of it is lost.
                dump.interrupted = True
                late = isinstance(error, TimeoutError)
    if dump.error and not dump.examined:
        raise OSError(dump.error, os.strerror(dump.error))
    cut_off = not dump.done and not enough and most is None
    return Table(
        source=CTNETLINK,
        examined=dump.examined,
        all=dump.done and not dump.error,
        skipped=dump.skipped,
        unknown=dump.unknown,
        interrupted=dump.interrupted or dump.error != 0 or cut_off,
        late=late,
        forged=dump.forged + conversation.forged,
    )


def _from_file(host: Host, path: str, most: Optional[int], take: Take) -> Table:
    listing = Listing(most)
    for layout, block in listing.blocks(host.lines(path)):
        take(layout, block)
    there = host.exists(path) and path not in host.unreadable
    return Table(path if there else None, listing.examined, listing.done, listing.skipped, 0, False, False, 0)


def why(refusal: OSError, path: Optional[str]) -> str:
    """What to say of a table that neither ctnetlink nor a file, if one was tried, gives."""
    also = " and of {0}".format(path) if path else ""
    if refusal.errno == errno.EACCES:
        return "the kernel refuses the use of ctnetlink{0} (EACCES): {1}".format(also, _FORBIDDEN)
    if refusal.errno == errno.EPERM:
        return (
            "the kernel refuses the use of ctnetlink{0}: expected CAP_NET_ADMIN, found a user or a container "
            "without it; run as root, with become: true".format(also)
        )
    return "this kernel has nothing to read the table by: the use of ctnetlink{0} failed ({1})".format(
        also, refusal.strerror
    )


_FORBIDDEN = "a security module such as SELinux forbids it; its log says which rule would allow it (ausearch -m avc)"
_SHORT = "it is short of memory for messages; run again, with a rate"
# By errno, what is to be done about it.
_CURES = {
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.ENOBUFS: _SHORT,
    errno.ENOMEM: _SHORT,
    errno.EMSGSIZE: "messages may not be longer than net.core.wmem_default: raise it, or run again with a rate of 100",
}


def not_taken(number: int, done: int) -> str:
    """What to say of requests to change entries that the kernel does not take, after so many that it took."""
    return (
        "the kernel does not take requests to change entries ({0}, {1}){2}; {3} entries were shortened before".format(
            errno.errorcode.get(number, number),
            os.strerror(number),
            ": " + _CURES[number] if number in _CURES else "",
            done,
        )
    )
