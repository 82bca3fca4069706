# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A mount namespace of one's own, in which /etc, /var/lib and /run are private: who changes these on the machine meanwhile is
not seen, and sees nothing.

Needs root, and that mounting is allowed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

# sched.h and mount.h
NEW_MOUNTS = 0x00020000
BIND, RECURSIVE, PRIVATE, DETACH = 0x1000, 0x4000, 0x40000, 2
# What is written by hand is copied. The rest is state of programs that go on: what is there stays theirs, new names are private.
COPIED, STATE = Path("/etc"), (Path("/var/lib"), Path("/run"))
# Begins the names of what runs for the machine itself have left: in a test it is one that nobody has tuned.
OWN = "headroom"

_libc = ctypes.CDLL(None, use_errno=True)


def leave() -> None:
    """For this process and its children, for good: what is mounted from now on is mounted for them alone."""
    _checked(_libc.unshare(NEW_MOUNTS), "unshare")
    _mount(None, Path("/"), PRIVATE | RECURSIVE)


@contextlib.contextmanager
def private() -> Iterator[None]:
    """Folders as they are on the machine now; whatever is done in them is gone afterwards."""
    with contextlib.ExitStack() as kept:
        for folder in (COPIED, *STATE):
            # The way to what the new one hides.
            hidden = os.open(folder, os.O_PATH)
            kept.callback(os.close, hidden)
            _mount(None, folder, 0, kind=b"tmpfs", data=b"mode=0755")
            kept.callback(_detach, folder)
            if folder == COPIED:
                copy = ("cp", "--archive", f"/proc/self/fd/{hidden}/.", str(folder))
                subprocess.run(copy, check=True, pass_fds=(hidden,))
                shutil.rmtree(folder / OWN, ignore_errors=True)
            else:
                _bind_all(Path(f"/proc/self/fd/{hidden}"), folder)
        yield


def _bind_all(hidden: Path, folder: Path) -> None:
    for name in sorted(os.listdir(hidden)):
        there, here = hidden / name, folder / name
        if name.startswith(OWN):
            continue
        # What has ended since the names were told is nobody's loss.
        with contextlib.suppress(FileNotFoundError):
            if there.is_symlink():
                here.symlink_to(os.readlink(there))
                continue
            if there.is_dir():
                here.mkdir()
            else:
                here.touch()
            _mount(there, here, BIND | RECURSIVE)


def _mount(source: Path | None, target: Path, flags: int, kind: bytes = b"none", data: bytes = b"") -> None:
    words = (os.fsencode(source or "none"), os.fsencode(target), kind, ctypes.c_ulong(flags), data)
    _checked(_libc.mount(*words), str(target))


def _detach(folder: Path) -> None:
    _checked(_libc.umount2(os.fsencode(folder), DETACH), str(folder))


def _checked(answer: int, what: str) -> None:
    if answer:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
