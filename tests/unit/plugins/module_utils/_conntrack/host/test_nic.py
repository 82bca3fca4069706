# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a card's driver counts, as the kernel hands it over byte by byte (net/ethtool/ioctl.c); ENA's own, since no other machine
has one. Real drivers are asked in tests/integration/test_nic.py."""

import ctypes
import errno
import os
import struct

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host import nic

# As the driver begins them (ena_ethtool.c).
ENA = {
    "total_resets": 1,
    "tx_timeout": 0,
    "bw_in_allowance_exceeded": 3,
    "pps_allowance_exceeded": 2**40,
    "conntrack_allowance_exceeded": 17,
    "linklocal_allowance_exceeded": 0,
    "conntrack_allowance_available": 136812,
    "queue_0_tx_cnt": 2**64 - 1,
    "a_name_of_the_longest_kind_there": 5,
}
SET_INFO, STRINGS, COUNTERS = 0x37, 0x1B, 0x1D


class Driver:
    """Answers ioctl(2). From the request ``changes`` on it has so many counters more."""

    def __init__(self, counters, changes=None, more=0, error=None):
        self.counters, self.changes, self.more, self.error = counters, changes, more, error
        self.interfaces = set()

    def __call__(self, _number, request, told):
        assert request == 0x8946
        assert len(told) >= 32
        name, address = struct.unpack_from("16sP", told)
        self.interfaces.add(name.rstrip(b"\0").decode())
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        (command,) = struct.unpack("=I", ctypes.string_at(address, 4))
        if command == self.changes:
            self.counters = {**self.counters, **{f"more_{number}": 1 for number in range(self.more)}}
        ctypes.memmove(address, *self.answer(command, address))

    def answer(self, command, address):
        count = len(self.counters)
        if command == SET_INFO:
            (asked,) = struct.unpack("=Q", ctypes.string_at(address + 8, 8))
            assert asked == 1 << 1
            said = struct.pack("=IIQ", command, 0, asked if count else 0) + (struct.pack("=I", count) if count else b"")
        elif command == STRINGS:
            said = struct.pack("=III", command, 1, count) + b"".join(
                name.encode().ljust(32, b"\0") for name in self.counters
            )
        else:
            assert command == COUNTERS
            said = struct.pack(f"=II{count}Q", command, count, *self.counters.values())
        return said, len(said)


def test_the_counters_by_the_names_that_the_driver_gives_them():
    driver = Driver(ENA)
    assert nic.counters("ens5", driver) == ENA
    assert driver.interfaces == {"ens5"}


@pytest.mark.parametrize("count", [1, 3, 3000])
def test_as_many_as_there_are(count):
    found = {f"queue_{number}_rx_cnt": number for number in range(count)}
    assert nic.counters("ens5", Driver(found)) == found


def test_a_driver_without_any():
    assert nic.counters("ens5", Driver({})) == {}


@pytest.mark.parametrize("changes", [STRINGS, COUNTERS])
def test_a_driver_that_has_others_meanwhile_says_nothing(changes):
    assert nic.counters("ens5", Driver(ENA, changes, more=1000)) == {}


def test_what_a_kernel_says_no_to():
    with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
        nic.counters("ens5", Driver(ENA, error=errno.EOPNOTSUPP))
