# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Tests see the files of this machine as they were when they began, and change none of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import apart
import pytest

pytestmark = pytest.mark.on_one_core

# Where this test has come from.
MACHINE = ("nsenter", "--mount", "--target", str(os.getppid()))
NAME = f"headroom-apart-{os.getpid()}"
FOLDERS = (apart.COPIED, *apart.STATE)


def on_machine(*command: str) -> str:
    return subprocess.run([*MACHINE, *command], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def outside() -> Iterator[Path]:
    """A file that somebody makes on the machine meanwhile."""
    path = apart.STATE[1] / NAME
    on_machine("touch", str(path))
    yield path
    on_machine("rm", str(path))


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_what_a_test_makes_is_its_own(folder: Path) -> None:
    (folder / NAME).write_text("text")
    assert NAME in os.listdir(folder)
    assert NAME not in on_machine("ls", str(folder)).split()


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_it_is_gone_with_the_test(folder: Path) -> None:
    assert NAME not in os.listdir(folder)


def test_files_are_those_of_the_machine() -> None:
    for path in ("/etc/passwd", "/etc/shadow"):
        there = Path(path).stat()
        said = on_machine("stat", "--format=%s %u %g %a %Y", path).split()
        assert said == [
            str(there.st_size),
            str(there.st_uid),
            str(there.st_gid),
            f"{there.st_mode & 0o7777:o}",
            str(int(there.st_mtime)),
        ]
    for folder in apart.STATE:
        assert {name for name in os.listdir(folder) if name.startswith(apart.OWN)} == set()
        assert os.listdir(folder)


def test_what_is_changed_is_a_copy() -> None:
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write(f"# {NAME}\n")
    assert NAME not in on_machine("cat", "/etc/hosts")


def test_what_somebody_makes_meanwhile_is_not_seen(outside: Path) -> None:
    assert outside.name in on_machine("ls", str(outside.parent)).split()
    assert not outside.exists()
