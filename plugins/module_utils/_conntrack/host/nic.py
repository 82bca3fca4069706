# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a host's door that asks the driver of a network card what it counts, as ethtool -S does (linux/ethtool.h)."""

import array
import fcntl
import socket
import struct
from typing import Any, Callable, Dict

_SIOCETHTOOL = 0x8946  # linux/sockios.h
_SET_INFO, _STRINGS, _COUNTERS = 0x37, 0x1B, 0x1D
_OF_COUNTERS = 1  # ETH_SS_STATS, of the sets of names that a driver has
_NAME = 32  # ETH_GSTRING_LEN
# A card with 128 queues has some 3,000.
_MOST = 65536
# Kernels before 2026 write as many as the driver has by then, whatever they were asked for.
_SPARE = 1024

# fcntl.ioctl, or what answers as it does.
Ask = Callable[[int, int, bytes], Any]


def counters(interface: str, ask: Ask = fcntl.ioctl) -> Dict[str, int]:
    """What its driver counts, by the driver's names; nothing where it has no such. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:

        def asked(request: bytes, room: int) -> bytes:
            memory = array.array("B", request + bytes(room))
            # struct ifreq: the name, and in place of an address where the request lies.
            ask(opened.fileno(), _SIOCETHTOOL, struct.pack("16sP16x", interface.encode()[:15], memory.buffer_info()[0]))
            return memory.tobytes()

        known, count = struct.unpack_from("=QI", asked(struct.pack("=IIQ", _SET_INFO, 0, 1 << _OF_COUNTERS), 4), 8)
        if not known or not 0 < count <= _MOST:
            return {}
        names = asked(struct.pack("=III", _STRINGS, _OF_COUNTERS, count), (count + _SPARE) * _NAME)
        values = asked(struct.pack("=II", _COUNTERS, count), (count + _SPARE) * 8)
    if struct.unpack_from("=I", names, 8)[0] != count or struct.unpack_from("=I", values, 4)[0] != count:
        # The driver has others than a moment ago.
        return {}
    found = [names[12 + place * _NAME :][:_NAME].partition(b"\0")[0] for place in range(count)]
    numbers = struct.unpack_from("={0}Q".format(count), values, 8)
    return {name.decode("ascii", "replace"): number for name, number in zip(found, numbers)}
