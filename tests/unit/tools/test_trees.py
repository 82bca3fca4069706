# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The inventory of trees that make audit reads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[3] / "tools/trees.py"

pytestmark = pytest.mark.on_one_python


def trees(*folders):
    return subprocess.run(
        [sys.executable, str(TOOL), ",".join(map(str, folders))], capture_output=True, text=True, check=False
    )


def test_each_folder_is_a_host_of_its_name(tmp_path):
    for name in ("web/root", "db/root", "sosreport-x"):
        (tmp_path / name).mkdir(parents=True)
    found = json.loads(trees(tmp_path / "web/root", tmp_path / "db/root", f"{tmp_path}/sosreport-x/").stdout)["all"]
    assert {name: of["conntrack_root"] for name, of in found["hosts"].items()} == {
        f"{tmp_path}/web/root": f"{tmp_path}/web/root",
        f"{tmp_path}/db/root": f"{tmp_path}/db/root",
        "sosreport-x": f"{tmp_path}/sosreport-x",
    }
    assert found["vars"]["ansible_connection"] == "local"


def test_a_folder_that_is_not_there(tmp_path):
    found = trees(tmp_path, tmp_path / "none")
    assert (found.returncode, found.stdout, found.stderr) == (1, "", f"TREE: there is no folder {tmp_path}/none\n")
