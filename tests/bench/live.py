# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The kernel's live conntrack values: kept, put back, and set to what a kernel starts with."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

SYSCTLS = Path("/proc/sys/net/netfilter")
HASHSIZE = Path("/sys/module/nf_conntrack/parameters/hashsize")
GIB = 2**30
# The kernel has one table: whoever changes its values for a test holds this.
LOCK = Path("/run/lock/headroom-netfilter-live")

Values = dict[Path, str]


def missing() -> str:
    """What keeps the live values from being set here, as a sentence; empty if nothing does."""
    if not HASHSIZE.exists() or not (SYSCTLS / "nf_conntrack_max").exists():
        return "make bench needs connection tracking in the kernel: modprobe nf_conntrack, then try again."
    if not os.access(SYSCTLS / "nf_conntrack_max", os.W_OK):
        return "make bench sets conntrack sysctls, and they cannot be written here."
    return ""


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Whatever happens inside, the values are afterwards as they were. One at a time: others wait."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = read()
        try:
            yield
        finally:
            _write(before)


def to_defaults() -> None:
    """The values of a kernel that nobody has tuned."""
    _write(_defaults())


def read() -> Values:
    paths = [path for path in SYSCTLS.glob("nf_conntrack_*") if path.stat().st_mode & 0o200]
    return {path: path.read_text().strip() for path in (HASHSIZE, *sorted(paths))}


def _write(wanted: Values) -> None:
    """The buckets first: once they are right, nf_conntrack_buckets, their other name, is as well."""
    for path, value in wanted.items():
        if path.read_text().strip() != value:
            path.write_text(value)


def _defaults() -> Values:
    """A new network namespace starts with the kernel's own values; those of the table, which all share, go by memory."""
    command = ["unshare", "--net", "grep", "--recursive", "", str(SYSCTLS)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pristine = {Path(path): value for path, value in (line.split(":", 1) for line in listing.splitlines())}
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size = 262144 if memory > 4 * GIB else 65536 if memory > GIB else max(1024, memory // 16384 // 8)
    pristine.update(
        {
            HASHSIZE: str(size),
            SYSCTLS / "nf_conntrack_buckets": str(size),
            SYSCTLS / "nf_conntrack_max": str(size),
            SYSCTLS / "nf_conntrack_expect_max": str(size // 256 * 4),
        }
    )
    return {path: pristine.get(path, now) for path, now in read().items()}
