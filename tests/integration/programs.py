# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Programs of Debian's packages, unpacked rather than installed: nothing of theirs is configured or started on this machine.

They lie in $XDG_CACHE_HOME/headroom.netfilter/programs (~/.cache by default).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
import images

PLACES = ("usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/systemd", "lib/systemd")


class Program(NamedTuple):
    path: str
    root: Path  # what it was unpacked into, or /
    environment: dict[str, str]


def program(name: str, package: str) -> Program:
    """One that is here, or that APT has; a test that needs another is skipped."""
    home = _cache() / package
    if not home.exists() and not (found := shutil.which(name)):
        _unpack(package, home)
    elif not home.exists():
        return Program(found, Path("/"), dict(os.environ))
    path = next((home / place / name for place in PLACES if (home / place / name).exists()), None)
    if path is None:
        pytest.skip(f"{package} has no {name}")
    libraries = sorted({str(library.parent) for library in home.rglob("*.so*")})
    return Program(str(path), home, {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)})


def release(suite: str, *packages: str) -> Path:
    """A tree of another release of Debian that holds these packages and what they need, unpacked; a test that needs one that
    cannot be had is skipped."""
    home = _cache() / "-".join((suite, *packages))
    if not home.exists():
        if not shutil.which("mmdebstrap"):
            pytest.skip(f"no tree of {suite}: mmdebstrap is not installed")
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as work:
            os.chmod(work, 0o755)
            root = Path(work) / "root"
            options = ["--mode=root", "--variant=extract", f"--include={','.join(packages)}"]
            made = subprocess.run(
                ["mmdebstrap", *options, suite, root, f"deb {images.mirror()} {suite} main"],
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                pytest.skip(f"no tree of {suite}: {made.stderr[-200:]}")
            root.rename(home)
    return home


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "headroom.netfilter/programs"


def _unpack(package: str, home: Path) -> None:
    if not shutil.which("apt-get"):
        pytest.skip(f"{package} is not installed, and there is no apt-get")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as work:
        wanted = ["apt-get", "--simulate", "--no-install-recommends", "install", package]
        said = subprocess.run(wanted, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
        # What it needs and is not here.
        packages = re.findall(r"^Inst (\S+)", said.stdout, re.M)
        if package not in packages:
            pytest.skip(f"{package} is not installed, and APT has none: {said.stderr[-200:]}")
        os.chmod(work, 0o755)
        done = subprocess.run(["apt-get", "download", *packages], cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{package} cannot be downloaded: {done.stderr[-200:]}")
        (root := Path(work) / "root").mkdir()
        for archive in Path(work).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", archive, root], check=True)
        root.rename(home)
