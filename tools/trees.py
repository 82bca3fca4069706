# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Print an inventory of the trees in a list with commas: images, chroots, sosreports that lie on this machine.

usage: trees.py DIR[,DIR...]

A host is called as its folder is; of several of one name, by the whole path.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter


def inventory(folders: list[str], python: str) -> dict[str, object]:
    paths = [os.path.abspath(folder) for folder in folders]
    missing = [path for path in paths if not os.path.isdir(path)]
    if missing:
        sys.exit(f"TREE: there is no folder {', '.join(missing)}")
    of_name = Counter(map(os.path.basename, paths))
    hosts = {(path if of_name[os.path.basename(path)] > 1 else os.path.basename(path)) or "/": path for path in paths}
    return {
        "all": {
            "hosts": {name: {"conntrack_root": path} for name, path in hosts.items()},
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": python},
        }
    }


if __name__ == "__main__":
    json.dump(inventory(sys.argv[1].split(","), sys.executable), sys.stdout)
