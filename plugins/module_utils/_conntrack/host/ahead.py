# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to come is had by a child while this process looks at what came: on two processors that takes as long as the slower
of the two. A thread would wait for Python's lock after each piece, and took a third longer over a million entries."""

import contextlib
import errno
import mmap
import os
import signal
import struct
from typing import Callable, Generator, Optional

# Pieces that are handed over at once, and how often the child may be ahead by as many.
_TOGETHER, _AHEAD = 16, 4
# The lengths of the pieces, 0 for none; what the child has counted; errno of the end, 0 for one without, or _MORE.
_TOLD = struct.Struct("={0}IIi".format(_TOGETHER))
_MORE = -1


def ahead(
    longest: int, next_piece: Callable[[], Optional[bytes]], counted: Callable[[], int], count: Callable[[int], None]
) -> Generator[bytes, None, None]:
    """The pieces that ``next_piece`` gives in a child, of ``longest`` bytes at most, until it raises BlockingIOError; None is no
    piece. What ``counted`` says there is told to ``count`` here. Raises OSError as next_piece does, or where there can be no child.
    """
    ring = mmap.mmap(-1, longest * _TOGETHER * _AHEAD)
    told, telling = os.pipe()
    room, leaving = os.pipe()
    try:
        child = os.fork()
        if child == 0:
            # Whatever the parent has begun, as text that it has not yet written, is not the child's to end.
            try:
                os.close(told)
                os.close(leaving)
                _fill(ring, longest, next_piece, counted, telling, room)
            finally:
                os._exit(0)
    except OSError:
        os.close(told)
        os.close(leaving)
        raise
    finally:
        os.close(telling)
        os.close(room)
    try:
        end, start = _MORE, 0
        while end == _MORE:
            # A child that has had all is gone already.
            with contextlib.suppress(BrokenPipeError):
                os.write(leaving, bytes(1))
            message = os.read(told, _TOLD.size)
            if not message:
                raise OSError(errno.ECHILD, "what received for this process ended without a word")
            *lengths, number, end = _TOLD.unpack(message)
            begins = range(start * longest, (start + _TOGETHER) * longest, longest)
            pieces = [ring[begin : begin + length] for begin, length in zip(begins, lengths)]
            start = (start + _TOGETHER) % (_TOGETHER * _AHEAD)
            count(number)
            yield from filter(None, pieces)
        if end:
            raise OSError(end, os.strerror(end))
    finally:
        os.close(told)
        os.close(leaving)
        # Who lets nobody wait for children has none left.
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        ring.close()


def _fill(
    ring: mmap.mmap,
    longest: int,
    next_piece: Callable[[], Optional[bytes]],
    counted: Callable[[], int],
    telling: int,
    room: int,
) -> None:
    """The child's work, which ends with the parent: nobody reads then, or gives room."""
    end, start, left = _MORE, 0, _AHEAD - 1
    while end == _MORE:
        if left == 0:
            left = len(os.read(room, _AHEAD))
        if left == 0:
            return
        left -= 1
        lengths = [0] * _TOGETHER
        for place in range(_TOGETHER):
            try:
                piece = next_piece()
            except BlockingIOError:
                end = 0
                break
            except OSError as error:
                end = error.errno or errno.EIO
                break
            if piece:
                begin = (start + place) * longest
                ring[begin : begin + len(piece)] = piece
                lengths[place] = len(piece)
        start = (start + _TOGETHER) % (_TOGETHER * _AHEAD)
        os.write(telling, _TOLD.pack(*lengths, counted(), end))
