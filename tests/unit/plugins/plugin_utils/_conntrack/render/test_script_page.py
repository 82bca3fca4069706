# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The outputs of docs/apply-sh.md are those of its commands.

    PYTHONPATH=... python -m ansible_collections.headroom.netfilter.tests.unit.plugins.plugin_utils._conntrack.render.test_script_page

writes them anew.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.script import script
from ansible_collections.headroom.netfilter.tests.unit import golden

pytestmark = pytest.mark.on_one_python

PAGE = Path(__file__).parents[6] / "docs/apply-sh.md"
BLOCK = re.compile(r"```console\n\$ (sh apply\.sh --root \w+.*)\n(?:.*\n)*?```\n")


def made(text: str) -> str:
    """The page with what its commands say, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "apply.sh").write_text(script(Policy()), encoding="utf-8")

        def said(block: re.Match[str]) -> str:
            words = shlex.split(block.group(1))
            if not (folder / words[3]).exists():
                golden.lay_out(words[3], str(folder / words[3]))
            done = subprocess.run(
                words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
            )
            return f"```console\n$ {block.group(1)}\n{done.stdout}```\n"

        return BLOCK.sub(said, text)


def test_the_page_says_what_the_script_says():
    text = PAGE.read_text(encoding="utf-8")
    assert len(BLOCK.findall(text)) == 6
    assert made(text) == text


if __name__ == "__main__":
    PAGE.write_text(made(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
