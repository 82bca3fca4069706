# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files out of an initial RAM disk: archives one after the other, as the kernel unpacks them, each packed or not. Total.

Sources: Documentation/driver-api/early-userspace/buffer-format.rst and init/initramfs.c of Linux 6.12.
"""

import stat
from typing import Any, Callable, Dict, Iterable, Iterator

# Bytes that are unpacked at most: that of a distribution with all its drivers has 300 million.
_MOST = 640 * 1024 * 1024
# Bytes. A file of settings has some KiB.
_LONGEST = 1024 * 1024
_LONGEST_NAME = 4096
_HEAD = 110
_MAGIC = (b"070701", b"070702")


class Unreadable(Exception):
    """It is packed as this Python cannot unpack, is more than is looked at, or broken; the text says which."""


def files(chunks: Iterable[bytes], wanted: Callable[[str], bool]) -> Dict[str, bytes]:
    """By path, / before it, the regular files whose path is wanted. Raises Unreadable."""
    found: Dict[str, bytes] = {}
    disk = _Stream(iter(chunks))
    while disk.skip_zeros():
        if disk.peek(6) in _MAGIC:
            _archive(disk, wanted, found)
            continue
        unpacked = _Stream(_unpacked(disk))
        while unpacked.skip_zeros():
            _archive(unpacked, wanted, found)
    return found


def _archive(source: "_Stream", wanted: Callable[[str], bool], found: Dict[str, bytes]) -> None:
    while True:
        head = source.take(_HEAD)
        if head[:6] not in _MAGIC:
            raise Unreadable("it is broken")
        try:
            mode, size, named = (int(head[at : at + 8], 16) for at in (14, 54, 94))
        except ValueError:
            raise Unreadable("it is broken") from None
        if named > _LONGEST_NAME:
            raise Unreadable("it is broken")
        name = source.take(named)[:-1].decode("utf-8", "replace")
        source.drop(-(_HEAD + named) % 4)
        if name == "TRAILER!!!":
            return
        path = "/" + (name[2:] if name.startswith("./") else name).lstrip("/")
        if stat.S_ISREG(mode) and size <= _LONGEST and wanted(path):
            found[path] = source.take(size)
        else:
            source.drop(size)
        source.drop(-size % 4)


class _Stream:
    """Bytes that are read once, one piece after the other."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""
        self._at = 0
        self._left = _MOST

    def peek(self, size: int) -> bytes:
        while len(self._held) - self._at < size and self._more():
            pass
        return self._held[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        found = self.peek(size)
        if len(found) < size:
            raise Unreadable("it is cut off")
        self._at += size
        return found

    def drop(self, size: int) -> None:
        while True:
            there = min(size, len(self._held) - self._at)
            self._at += there
            size -= there
            if not size:
                return
            if not self._more():
                raise Unreadable("it is cut off")

    def skip_zeros(self) -> bool:
        """Those between archives; whether anything follows."""
        while True:
            self._held, self._at = self._held[self._at :].lstrip(b"\0"), 0
            if self._held:
                return True
            if not self._more():
                return False

    def chunk(self) -> bytes:
        """All that is held, or what comes next; nothing at the end."""
        if self._at < len(self._held) or self._more():
            found, self._held, self._at = self._held[self._at :], b"", 0
            return found
        return b""

    def back(self, rest: bytes) -> None:
        """Of what was taken last, what is to be taken again."""
        self._held, self._at = rest + self._held[self._at :], 0

    def _more(self) -> bool:
        more = next(self._chunks, b"")
        self._left -= len(more)
        if self._left < 0:
            raise Unreadable("there is more in it than is looked at")
        self._held, self._at = self._held[self._at :] + more, 0
        return bool(more)


def _unpacked(disk: _Stream) -> Iterator[bytes]:
    unpacker = _unpacker(disk.peek(6))
    try:
        while not unpacker.eof:
            packed = disk.chunk()
            if not packed:
                raise Unreadable("it is cut off")
            unpacked = unpacker.decompress(packed)
            if unpacked:
                yield unpacked
    except Unreadable:
        raise
    except Exception:
        # Each module that unpacks has errors of its own.
        raise Unreadable("it is broken") from None
    disk.back(unpacker.unused_data)


def _unpacker(magic: bytes) -> Any:
    # Not every Python has them, and few hosts need any.
    try:
        if magic.startswith(b"\x1f\x8b"):
            import zlib

            return zlib.decompressobj(31)
        if magic.startswith((b"\xfd7zXZ", b"\x5d\0\0")):
            import lzma

            return lzma.LZMADecompressor()
        if magic.startswith(b"BZh"):
            import bz2

            return bz2.BZ2Decompressor()
        if magic.startswith(b"\x28\xb5\x2f\xfd"):
            # Since Python 3.14.
            from importlib import import_module

            return import_module("compression.zstd").ZstdDecompressor()
    except ImportError:
        pass
    raise Unreadable("it is packed as the Python there cannot unpack")
