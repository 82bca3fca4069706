# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel has said about a full table: in its ring buffer, which is of this boot, and in the ends of text logs.

Where neither has such a message though packets were dropped, the journal is asked for those of this boot, by their whole
texts, of which it has an index: that takes some 10 ms whatever its size. So what was suppressed is not known from there, nor
the messages of other namespaces.

Not looked at: rotated logs, and the journal of earlier boots. What the journal does not say is not told from what the user
may not read in it.
"""

from typing import List, Optional, Tuple

from ..host.door import Host
from ..sources.log import RING, TELLING, Log

# Bytes of each log, from its end; some 11,000 messages.
TAIL = 1024 * 1024

_FILES = (
    "/var/log/kern.log",
    "/var/log/messages",
    "/var/log/syslog",
    # Arch's syslog-ng, metalog, Void's socklog.
    "/var/log/kernel.log",
    "/var/log/kernel/current",
    "/var/log/socklog/kernel/current",
)

_JOURNAL = "journal"
# The second before the merge of /usr.
_JOURNALCTL = ("/usr/bin/journalctl", "/bin/journalctl")
# -k is of this boot, and has what processes write to /dev/kmsg too, under another facility. Newest first, since it is cut off.
_ASK = ["-k", "-q", "-r", "--no-pager", "-o", "short-iso", "SYSLOG_FACILITY=0"]
_TEXTS = [
    "MESSAGE={0}nf_conntrack: table full, dropping packet{1}".format(start, end)
    for start in ("", "nf_conntrack: ")
    for end in ("", ".")
]


def log(host: Host, dropped: bool) -> Log:
    """What there is to read of it; ``dropped`` is whether a full table may have refused a packet."""
    sources = [(RING, host.kernel_log(TAIL))] + [(path, host.tail(path, TAIL)) for path in _FILES]
    texts = [(name, text) for name, text in sources if text is not None]
    found = _read(host, texts)
    said = _journal(host) if dropped and not found.table_full else None
    return found if said is None else _read(host, texts + [(_JOURNAL, said)])


def _read(host: Host, texts: List[Tuple[str, str]]) -> Log:
    if not any(TELLING in text for _name, text in texts):
        return Log(0, 0, None, None, [], [name for name, _text in texts])
    # Few hosts have such messages: the others need not load what reads them.
    from ..sources import messages

    return messages.read(host, texts)


def _journal(host: Host) -> Optional[str]:
    """The lines of journalctl, oldest first; None where there is no message of a full table to be had from it."""
    program = next(filter(host.exists, _JOURNALCTL), None)
    if program is None or not host.exists("/run/systemd/system"):
        return None
    said = host.run([program] + _ASK + _TEXTS, TAIL) or ""
    return "\n".join(reversed(said.split("\n"))) if TELLING in said else None
