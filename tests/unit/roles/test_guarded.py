# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Of what a host answers, the role and the playbooks take nothing past the guard."""

from pathlib import Path

import pytest
import yaml

HOME = Path(__file__).resolve().parents[3]
FILES = sorted(
    [*HOME.glob("roles/*/tasks/*.yml"), *HOME.glob("roles/*/handlers/*.yml"), *HOME.glob("playbooks/**/*.yml")]
)
# Run on the controller; or hand nothing on but what they make themselves: when a host was back, and what a script has printed.
OURS = {
    "assert",
    "debug",
    "fail",
    "set_fact",
    "set_stats",
    "include_tasks",
    "import_tasks",
    "import_role",
    "reboot",
    "script",
    "wait_for_connection",
}
# Of the collection's modules, those that roles run.
PLAIN = ("conntrack", "conntrack_facts", "conntrack_notrack", "conntrack_unload")


def tasks_of(tasks):
    for task in tasks or ():
        inner = [key for key in ("block", "rescue", "always", "tasks", "handlers") if key in task]
        # A play of the controller alone.
        here = (
            {"delegate_to": "localhost"}
            if (task.get("hosts"), task.get("connection")) == ("localhost", "local")
            else {}
        )
        for key in inner:
            yield from ({**here, **found} for found in tasks_of(task[key]))
        if not inner:
            yield task


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_no_module_runs_unguarded_on_a_host(path):
    found = list(tasks_of(yaml.safe_load(path.read_text())))
    assert found
    for task in found:
        (module,) = [key for key in task if "." in key]
        if task.get("delegate_to") != "localhost" and not module.startswith("headroom.netfilter."):
            assert module.removeprefix("ansible.builtin.") in OURS, task["name"]


@pytest.mark.parametrize(
    "path", [path for path in FILES if "roles" in path.parts], ids=lambda path: str(path.relative_to(HOME))
)
def test_the_role_runs_modules_of_its_own(path):
    for task in tasks_of(yaml.safe_load(path.read_text())):
        (module,) = [key for key in task if "." in key]
        assert module in {f"headroom.netfilter.{name}" for name in PLAIN}


@pytest.mark.parametrize("path", sorted(HOME.glob("playbooks/*.yml")), ids=lambda path: path.name)
def test_every_play_says_its_strategy(path):
    """A table is of all hosts, which with another strategy are not all there yet."""
    if path.name == "drill.yml":
        pytest.skip("one host at a time")
    assert {play["strategy"] for play in yaml.safe_load(path.read_text())} == {"linear"}
