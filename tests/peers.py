# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Collections of others to be measured against, taken out of the ansible package from PyPI."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "12.3.0"
SOURCE = f"ansible=={VERSION}"
COLLECTIONS = ("ansible/posix", "community/general")


class Failure(Exception):
    """Why the collections cannot be had."""


def collections(cache: Path) -> Path:
    """The folder for ANSIBLE_COLLECTIONS_PATH; downloaded once."""
    found = cache / f"peers-{VERSION}"
    if found.exists():
        return found
    print(f"taking {' and '.join(COLLECTIONS).replace('/', '.')} out of {SOURCE} from PyPI, once", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
        if subprocess.run([*pip, "download", "--no-deps", "-d", scratch, SOURCE], check=False).returncode:
            raise Failure(f"{SOURCE} could not be downloaded with pip")
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            starts = tuple(f"ansible_collections/{name}/" for name in COLLECTIONS)
            wheel.extractall(f"{scratch}/collections", [name for name in wheel.namelist() if name.startswith(starts)])
        os.rename(f"{scratch}/collections", found)
    return found
