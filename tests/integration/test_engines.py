# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""tune and audit as engines of automation run them: ansible-runner with its artifacts and events, ansible-pull from a repository,
slices of a job at once, and the collection's patterns.

A host here is a network namespace with a /run and a /var/lib of its own: its timeouts are its own, and the limit is the machine's.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import PATIENCE, SYSCTL, Machine

# What engines make of a run depends on them, and hardly on the core below.
pytestmark = pytest.mark.on_one_core

RUNNER = Path(sys.executable).with_name("ansible-runner")
PATTERNS = Path(__file__).parents[2] / "extensions/patterns"
TIMEOUT = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established"
# Of the kernel, and of the profile server.
BEFORE, AFTER = "432000", "7440"
PRIVATE = "for folder in /run /var/lib; do mount -t tmpfs -o mode=0755 none $folder; done; echo $$; read end"
# The Python of such a host.
INSIDE = '#!/bin/sh\nexec nsenter --net --mount --target {0} {1} "$@"\n'
APPLY = "headroom.netfilter.conntrack"


class Node(NamedTuple):
    """A host."""

    name: str
    process: int
    python: Path

    def timeout(self) -> str:
        inside = ["nsenter", "--net", "--target", str(self.process), "cat", TIMEOUT]
        return subprocess.run(inside, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def controller(_apart: None, request: pytest.FixtureRequest) -> Machine:
    """This machine with what it has live: nobody here sets that."""
    return Machine(request.config.getoption("--ansible-playbook"), request.config.getoption("--target-python"))


@pytest.fixture
def nodes(controller: Machine, tmp_path: Path) -> Iterator[list[Node]]:
    apart = ["unshare", "--net", "--mount", "--kill-child", "sh", "-ec", PRIVATE]
    with contextlib.ExitStack() as kept:
        found = []
        for number in range(1, 5):
            process = subprocess.Popen(apart, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            kept.enter_context(process)
            kept.callback(process.communicate, "\n", PATIENCE)
            assert process.stdout is not None
            inside = int(process.stdout.readline())
            python = tmp_path / f"python{number}"
            python.write_text(INSIDE.format(inside, controller.python))
            python.chmod(0o755)
            found.append(Node(f"node{number}", inside, python))
        yield found


def settings(machine: Machine, place: Path) -> dict[str, str]:
    """Of a controller: its programs, and a home that is its own."""
    return {
        **os.environ,
        "ANSIBLE_HOME": str(place / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "PATH": f"{Path(machine.ansible_playbook).parent}:{os.environ['PATH']}",
    }


class Job:
    """A private data directory of ansible-runner, and what a run has left in it."""

    def __init__(self, place: Path, nodes: list[Node], variables: dict[str, Any] | None = None) -> None:
        self.place = place
        for folder in ("inventory", "env", "project"):
            (place / folder).mkdir(parents=True)
        hosts = {node.name: {"ansible_python_interpreter": str(node.python)} for node in nodes}
        inventory = {"all": {"hosts": hosts, "vars": {"ansible_connection": "local"}}}
        (place / "inventory/hosts.json").write_text(json.dumps(inventory))
        (place / "env/extravars").write_text(json.dumps(variables or {}))

    def start(self, environment: dict[str, str], playbook: str, *arguments: str) -> subprocess.Popen[str]:
        words = [str(RUNNER), "run", str(self.place), "-p", playbook, "--ident", "run", *arguments]
        return subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, environment: dict[str, str], playbook: str, *arguments: str) -> str:
        process = self.start(environment, playbook, *arguments)
        output, _errors = process.communicate(timeout=PATIENCE)
        return output

    def said(self, name: str) -> str:
        return (self.place / "artifacts/run" / name).read_text()

    def events(self) -> list[dict[str, Any]]:
        """In their order; each file is whole, or this is not JSON."""
        paths = (self.place / "artifacts/run/job_events").glob("*.json")
        return sorted((json.loads(path.read_text()) for path in paths), key=lambda event: int(event["counter"]))

    def results(self, action: str) -> dict[str, dict[str, Any]]:
        """Of the tasks with an action, by host."""
        ended = [event for event in self.events() if event["event"] in ("runner_on_ok", "runner_on_failed")]
        mine = [event["event_data"] for event in ended if event["event_data"].get("task_action") == action]
        return {data["host"]: data["res"] for data in mine}

    def stats(self) -> dict[str, dict[str, int]]:
        (last,) = (event for event in self.events() if event["event"] == "playbook_on_stats")
        return dict(last["event_data"])


needs_runner = pytest.mark.skipif(not RUNNER.exists(), reason="there is no ansible-runner beside this Python")


@needs_runner
def test_runner_has_each_change_and_table_in_its_events(controller: Machine, nodes: list[Node], tmp_path: Path) -> None:
    environment = settings(controller, tmp_path)
    job = Job(tmp_path / "job", nodes[:2])
    output = job.run(environment, "headroom.netfilter.tune")
    assert (job.said("rc"), job.said("status")) == ("0", "successful"), output
    events = job.events()
    assert [event["counter"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["uuid"] for event in events}) == len(events)
    results = job.results(APPLY)
    assert sorted(results) == ["node1", "node2"]
    for result in results.values():
        assert result["changed"] is True
        assert result["before"]["timeouts"]["tcp_established"] == int(BEFORE)
        assert result["after"]["timeouts"]["tcp_established"] == int(AFTER)
        assert result["plan"]["refusals"] == []
    assert job.stats()["changed"] == {"node1": 1, "node2": 1}
    assert "node1, node2 (2 hosts)" in job.said("stdout")
    assert [node.timeout() for node in nodes] == [AFTER, AFTER, BEFORE, BEFORE]
    again = Job(tmp_path / "again", nodes[:2])
    again.run(environment, "headroom.netfilter.tune")
    assert (again.said("status"), again.stats()["changed"]) == ("successful", {})


@needs_runner
def test_runner_keeps_the_facts_of_an_audit(controller: Machine, nodes: list[Node], tmp_path: Path) -> None:
    job = Job(tmp_path / "job", nodes[:1])
    output = job.run(settings(controller, tmp_path), "headroom.netfilter.audit")
    assert (job.said("rc"), job.said("status")) == ("0", "successful"), output
    assert job.stats()["changed"] == {}
    (kept,) = (job.place / "artifacts/run/fact_cache").iterdir()
    # Since ansible-core 2.19 it is JSON within JSON.
    facts = json.loads(json.loads(kept.read_text())["__payload__"])
    assert facts["conntrack"]["timeouts"]["tcp_established"] == int(BEFORE)
    assert nodes[0].timeout() == BEFORE


@needs_runner
def test_runner_tells_that_and_why_a_job_failed(controller: Machine, nodes: list[Node], tmp_path: Path) -> None:
    job = Job(tmp_path / "job", nodes[:1], {"conntrack_max": "many"})
    job.run(settings(controller, tmp_path), "headroom.netfilter.tune")
    assert (job.said("rc"), job.said("status")) == ("2", "failed")
    (failure,) = (event for event in job.events() if event["event"] == "runner_on_failed")
    assert "conntrack_max" in str(failure["event_data"]["res"]["msg"])
    assert nodes[0].timeout() == BEFORE


@needs_runner
def test_slices_of_a_job_at_once_share_nothing(controller: Machine, nodes: list[Node], tmp_path: Path) -> None:
    """As AWX cuts an inventory: every second host. Both have one home, one collection and one moment."""
    environment = settings(controller, tmp_path)
    slices = {name: Job(tmp_path / name, part) for name, part in (("odd", nodes[::2]), ("even", nodes[1::2]))}
    running = [job.start(environment, "headroom.netfilter.tune", "--forks", "2") for job in slices.values()]
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in running]
    assert [job.said("status") for job in slices.values()] == ["successful", "successful"], outputs
    assert [node.timeout() for node in nodes] == [AFTER] * 4
    results = {name: job.results(APPLY) for name, job in slices.items()}
    assert {name: sorted(found) for name, found in results.items()} == {
        "odd": ["node1", "node3"],
        "even": ["node2", "node4"],
    }
    changes = [result["id"] for found in results.values() for result in found.values()]
    assert len(set(changes)) == 4
    # Neither has a word of the other's hosts, in what it printed or in what it left behind.
    for name, others in (("odd", nodes[1::2]), ("even", nodes[::2])):
        texts = [path.read_text() for path in slices[name].place.rglob("*") if path.is_file()]
        assert not any(node.name in text for node in others for text in texts), name
    left = [path for path in (tmp_path / "ansible").rglob("*") if path.is_file() and "galaxy" not in path.name]
    assert left == []


@needs_runner
@pytest.mark.parametrize("name", ["audit", "tune"])
def test_a_pattern_is_run_as_its_job_template_says(
    controller: Machine, nodes: list[Node], tmp_path: Path, name: str
) -> None:
    """The playbook's place in the project is the loader's; a survey that nobody has filled in is answered by its defaults."""
    (template,) = json.loads((PATTERNS / name / "meta/pattern.json").read_text())["aap_resources"][
        "controller_job_templates"
    ]
    answers = {question["variable"]: question.get("default", "") for question in template["survey"]["spec"]}
    job = Job(tmp_path / "job", nodes[:1], answers)
    playbook = f"extensions/patterns/{name}/playbooks/{template['playbook']}"
    output = job.run(settings(controller, tmp_path), playbook, "--project-dir", str(PATTERNS.parents[1]))
    assert job.said("status") == "successful", output
    assert job.stats()["changed"] == ({"node1": 1} if name == "tune" else {})


class Site:
    """A repository of a site's own, with a playbook of one line, that the machine itself pulls."""

    def __init__(self, machine: Machine, place: Path) -> None:
        self.machine, self.place = machine, place
        self.environment = {
            **settings(machine, place),
            "ANSIBLE_PYTHON_INTERPRETER": machine.python,
            "HOME": str(place),
        }
        self.git("init", "--quiet", "--initial-branch=main", "site")
        self.commit("- import_playbook: headroom.netfilter.tune\n")

    def git(self, *words: str) -> None:
        named = ["-c", "user.name=site", "-c", "user.email=site@example.invalid"]
        subprocess.run(["git", *named, *words], cwd=self.place, env=self.environment, check=True)

    def commit(self, playbook: str) -> None:
        (self.place / "site/local.yml").write_text(f"---\n{playbook}")
        self.git("-C", "site", "add", "local.yml")
        self.git("-C", "site", "commit", "--quiet", "--message", "playbook")

    def pull(self, *arguments: str, expect: int = 0) -> str:
        words = ["-U", f"file://{self.place}/site", "-C", "main", "-d", str(self.place / "pulled"), "-i", "localhost,"]
        program = Path(self.machine.ansible_playbook).with_name("ansible-pull")
        done = subprocess.run(
            [program, *words, *arguments, "local.yml"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout


def test_pull_tunes_the_machine_it_runs_on(machine: Machine, tmp_path: Path) -> None:
    site = Site(machine, tmp_path)
    first = site.pull()
    assert "nf_conntrack_max" in SYSCTL.read_text(), first
    planned = machine.get("max")
    machine.set("max", planned - 1)
    # Nothing new is in the repository: what drifted on the host stays.
    site.pull("--only-if-changed")
    assert machine.get("max") == planned - 1
    healed = site.pull()
    assert (machine.get("max"), "changed=1" in healed) == (planned, True)
    site.commit(f"- import_playbook: headroom.netfilter.tune\n  vars:\n    conntrack_max: {planned + 4096}\n")
    site.pull("--only-if-changed")
    assert machine.get("max") == planned + 4096
