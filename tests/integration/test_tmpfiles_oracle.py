# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What the collection reads in lines of tmpfiles.d is what systemd-tmpfiles writes by them, in a tree of its own."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[5]))
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.tmpfiles import written

PROGRAM = shutil.which("systemd-tmpfiles")
NAMES = kernel.FLAVOURS["nf_conntrack"]
KEYS = {
    "hashsize": "/sys/module/nf_conntrack/parameters/hashsize",
    "net.netfilter.nf_conntrack_max": "/proc/sys/net/netfilter/nf_conntrack_max",
}
TYPES = ("w", "w!", "w+", "w-", "w!-", "W", "f", "r", "#w", " w")
FIELDS = ("- - - -", "0644 root root -", "-\t-  - -", "- - -")
VALUES = ("65536", " 65536 ", '"65536"', "'65536'", "6 5", "%b", "12\\x33", "")
CASES = list(itertools.product(TYPES, KEYS, FIELDS, VALUES))


@pytest.mark.skipif(PROGRAM is None, reason="there is no systemd-tmpfiles: install systemd")
def test_what_is_written_is_what_is_told(tmp_path: Path) -> None:
    configuration = tmp_path / "etc/tmpfiles.d/a.conf"
    configuration.parent.mkdir(parents=True)
    for path in KEYS.values():
        (tmp_path / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    told = 0
    for kind, key, fields, value in CASES:
        line = f"{kind} {KEYS[key]} {fields} {value}"
        configuration.write_text(line + "\n")
        place = tmp_path / KEYS[key].lstrip("/")
        place.write_text("")
        subprocess.run(
            [str(PROGRAM), "--create", "--boot", f"--root={tmp_path}", str(configuration)],
            capture_output=True,
            check=False,
        )
        there = place.read_text() if place.exists() else ""
        found = [keys for _number, _line, keys in written(line, NAMES)]
        # The kernel takes nothing but a number.
        number = int(there) if there.strip().isdigit() else None
        if found and found[0][key] is None:
            continue
        told += bool(found)
        assert found == ([{key: number}] if number is not None else []), (line, there)
    assert told > 10
