# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The playbook render writes what the filter says, exactly, once, and nothing where something is wrong. tests/formats judges what."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import Machine

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import folder

MACHINE = {"render_machine": {"memory": "4 GiB"}}


@pytest.fixture
def here(request: pytest.FixtureRequest) -> Machine:
    """Without its kernel, which no rendering touches."""
    return Machine(request.config.getoption("--ansible-playbook"), request.config.getoption("--target-python"))


def render(here: Machine, *options: str, expect: int = 0, **variables: Any) -> Any:
    # Text that looks like a template stays text, of a user as of the script.
    return here.play("-e", json.dumps(variables), *options, name="render", expect=expect)


def lies(folder: Path) -> dict[str, tuple[Any, ...]]:
    return {
        str(path.relative_to(folder)): (
            path.read_bytes(),
            f"{path.stat().st_mode & 0o777:04o}",
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_it_writes_once_and_says_beforehand_what(here: Machine, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = {**MACHINE, "render_to": str(out)}
    checked = render(here, "--check", "--diff", **asked)
    assert not out.exists()
    assert checked.changed == 2
    assert "+net.netfilter.nf_conntrack_max = 131072" in checked.output
    assert "limit 131072: 2 percent of 4.0 GiB" in checked.output

    written = render(here, "--diff", **asked)
    assert written.changed == 2
    assert [line for line in written.output.splitlines() if line.startswith("+")] == [
        line for line in checked.output.splitlines() if line.startswith("+")
    ]
    found = lies(out)
    # As the filter has it, though there is what looks like a template or like data.
    assert {path: (text.decode(), mode) for path, (text, mode, _time) in found.items()} == {
        file["path"]: (file["content"], file["mode"]) for file in folder.as_asked({}, asked)["files"]
    }

    # Again, but for what an earlier rendering may have left.
    left = out / folder.EVERY[-1].lstrip("/")
    left.parent.mkdir(parents=True)
    left.write_text("# of headroom.netfilter\n")
    assert render(here, "--diff", **asked).changed == 1
    assert lies(out) == found


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"render_machines": {"memory": "4 GiB"}},
            "render_machines: there is no such variable; did you mean render_machine?",
        ),
        (
            {"render_machine": {"memory": "much"}},
            "render_machine.memory: 'much' will not do: expected memory",
        ),
        # By its core: as text that is no number, or as a template of something undefined.
        ({"conntrack_max": "{{ nowhere }}"}, "conntrack_max: "),
    ],
)
def test_nothing_is_written_where_something_is_wrong(
    here: Machine, tmp_path: Path, variables: dict[str, Any], said: str
) -> None:
    ran = render(here, expect=2, **{"render_to": str(tmp_path / "out"), **variables})
    assert said in " ".join(ran.output.split()).replace('\\"', '"')
    assert os.listdir(tmp_path) == []


@pytest.mark.on_one_core
def test_what_is_somebody_elses_stays(here: Machine, tmp_path: Path) -> None:
    (tmp_path / "user-data").write_text("#cloud-config\n")
    ran = render(here, expect=2, render_to=str(tmp_path))
    assert "is there and not of a rendering" in " ".join(ran.output.split())
    assert os.listdir(tmp_path) == ["user-data"]
