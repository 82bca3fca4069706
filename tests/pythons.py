# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The Pythons of this machine, of every version that the collection supports on hosts."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

VERSIONS = tuple(f"3.{minor}" for minor in range(6, 15))


@functools.cache
def find() -> dict[str, Path]:
    """Version -> its interpreter itself (no shim, no link into it), of those that can make virtual environments."""
    found = {version: _first_usable(version) for version in VERSIONS}
    return {version: path for version, path in found.items() if path}


def directories() -> list[str]:
    """Where the interpreters lie; ahead of PATH, every name like python3.8 is one of them and no shim."""
    return list(dict.fromkeys(str(path.parent) for path in find().values()))


def _first_usable(version: str) -> Path | None:
    named = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    releases = sorted(pyenv.glob(f"versions/{version}[.-]*"), key=_numbers, reverse=True)
    candidates = [Path(named)] if named else []
    candidates += [release / "bin/python" for release in releases]
    return next(filter(None, (_resolve(candidate, version) for candidate in candidates)), None)


def _numbers(release: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release.name)]


def _resolve(candidate: Path, version: str) -> Path | None:
    """Where the interpreter lies that a name stands for; None if it is another, or cannot make an environment."""
    ask = "import ensurepip, os, sys, venv; print('%d.%d' % sys.version_info[:2], os.path.realpath(sys.executable))"
    try:
        answer = subprocess.run([candidate, "-c", ask], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return None
    if answer.returncode != 0:
        return None
    said, path = answer.stdout.strip().split(" ", 1)
    return Path(path) if said == version else None
