# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Files out of initial RAM disks, packed or not, one archive behind the other."""

import bz2
import gzip
import lzma

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome import cpio
from ansible_collections.headroom.netfilter.tests.unit.disks import archive

MICROCODE = archive({"kernel/x86/microcode/GenuineIntel.bin": "x" * 5001})
MAIN = archive(
    {"./bin/sh": "y" * 70001, "./etc/modprobe.d/a.conf": "options a b=1\n", "etc/none": ""}, {"./etc/link": "../x"}
)
WANTED = {"/etc/modprobe.d/a.conf": b"options a b=1\n"}

DISKS = {
    "plain": MAIN,
    "gzip": gzip.compress(MAIN),
    "xz": lzma.compress(MAIN),
    "lzma": lzma.compress(MAIN, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress(MAIN),
    "microcode before it": MICROCODE + b"\0" * 512 + gzip.compress(MAIN),
    "modules apart": MICROCODE + archive({"lib/modules/a.ko": "z" * 3000}) + b"\0" * 8 + lzma.compress(MAIN),
    "two that are packed": gzip.compress(MICROCODE) + b"\0" * 4 + lzma.compress(MAIN),
    "two archives in one": gzip.compress(MICROCODE + MAIN),
}


def pieces(content, size):
    return (content[at : at + size] for at in range(0, len(content), size))


@pytest.mark.parametrize("size", [7, 512, 65536, 10**6])
@pytest.mark.parametrize("name", DISKS)
def test_what_is_in_it(name, size):
    assert cpio.files(pieces(DISKS[name], size), lambda path: path.startswith("/etc/m")) == WANTED


def test_links_are_no_files():
    assert "/etc/link" not in cpio.files([MAIN], lambda path: True)


BROKEN = {
    "cut off in a name": MAIN[:115],
    "cut off in a file": MAIN[:5000],
    "cut off before its end": MAIN[:-124],
    "cut off in what is packed": gzip.compress(MAIN)[:60],
    "no head": b"070701" + b"x" * 200,
    "no archive": gzip.compress(b"what is this" * 20),
    "a number that is none": MAIN[:54] + b"0000-001" + MAIN[62:],
    "a name without end": MAIN[:94] + b"FFFFFFFF" + MAIN[102:],
    "zstd before Python 3.14": b"\x28\xb5\x2f\xfd" + b"x" * 100,
    "lz4": b"\x02\x21\x4c\x18" + b"x" * 100,
    "text": b"not a disk at all",
    "damaged": gzip.compress(MAIN)[:30] + b"\xff" * 40,
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read(name):
    with pytest.raises(cpio.Unreadable):
        cpio.files(pieces(BROKEN[name], 64), lambda path: True)


def test_no_more_is_unpacked_than_is_allowed(monkeypatch):
    monkeypatch.setattr(cpio, "_MOST", 100000)
    with pytest.raises(cpio.Unreadable, match="more in it"):
        cpio.files([gzip.compress(archive({"a": "0" * 200000}))], lambda path: True)


def test_a_long_file_is_passed_over():
    disk = archive({"etc/modprobe.d/long.conf": "#" * (2**20 + 1), "etc/modprobe.d/a.conf": "options a b=1\n"})
    assert cpio.files(pieces(disk, 65536), lambda path: True) == WANTED
