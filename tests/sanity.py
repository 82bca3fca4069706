# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Run ansible-test sanity, without containers and without downloads other than pip's.

usage: sanity.py COLLECTION DIRECTORY [OPTION...]

Runs the ansible-test of this Python on a copy of the git repository COLLECTION. The copy and all that ansible-test
keeps between runs go below DIRECTORY, and not into the home of whoever runs this.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ansible_test
import artifact
import pythons

GET_PIP = Path(__file__).with_name("get_pip.py")


def main(collection: Path, directory: Path, *options: str) -> int:
    home, tree = directory / "home", directory / artifact.PLACE
    provide_pip(home)
    artifact.copy(collection, tree)
    own = Path(sys.executable).parent
    path = os.pathsep.join([str(own), *pythons.directories(), os.environ.get("PATH", os.defpath)])
    command = [str(own / "ansible-test"), "sanity", "--local", "--requirements", "--color", "no", *options]
    environment = {**os.environ, "HOME": str(home), "PATH": path}
    return subprocess.run(command, cwd=tree, env=environment, check=False).returncode


def provide_pip(home: Path) -> None:
    """Put the stand-in where ansible-test keeps each get-pip it knows, and pip's settings where it will look."""
    cache = home / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    requirements = Path(ansible_test.__path__[0]) / "_internal/python_requirements.py"
    for version in set(re.findall(r"pip='([\d.]+)'", requirements.read_text(encoding="utf-8"))):
        shutil.copy2(GET_PIP, cache / f"get_pip_{version.replace('.', '_')}.py")
    # ansible-test hands on neither pip's variables nor the real home.
    listed = ask_pip("config", "list")
    settings = re.findall(r"^(:env:|global|user|site)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE)
    settings.sort(reverse=True)  # what stands in a variable (":env:") comes last and wins
    merged = {"quiet": "2", "cache-dir": ask_pip("cache", "dir").strip()}
    merged |= {setting[1]: setting[2].replace("\\n", " ") for setting in settings}
    config = home / ".config/pip/pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.touch(mode=0o600)  # the address of an index may hold a password
    config.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in merged.items()))


def ask_pip(*question: str) -> str:
    command = [sys.executable, "-m", "pip", *question]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), *sys.argv[3:]))
