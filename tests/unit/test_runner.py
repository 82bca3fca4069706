# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Which steps run beside each other, and which do not run at all."""

import os
import re
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import runner


@pytest.fixture
def ran(tmp_path):
    """Run steps; each is a name and a shell command, with needs and after where it has them. What became of each."""

    def run(*steps):
        made = [runner.Step(name, (("sh", "-c", command),), tmp_path, **options) for name, command, options in steps]
        ran = runner.Runner(len(made), tmp_path, {"PATH": os.environ["PATH"]})
        ran.run(made)
        return {result.name: result.word for result in ran.results}

    return run


MEET = "mkdir {0}; for _ in $(seq 6000); do if [ -d {1} ]; then exit 0; fi; sleep 0.1; done; exit 1"
APART = "mkdir here && sleep 0.3 && rmdir here"


def test_two_steps_run_at_once(ran):
    assert ran(("a", MEET.format("a", "b"), {}), ("b", MEET.format("b", "a"), {})) == {"a": "ok", "b": "ok"}


def test_steps_that_need_the_same_do_not_meet(ran):
    needs = {"needs": frozenset({"kernel", "disk"})}
    other = {"needs": frozenset({"disk"})}
    assert set(ran(("a", APART, needs), ("b", APART, other), ("c", APART, needs)).values()) == {"ok"}


def test_a_step_that_cannot_start_yet_does_not_hold_up_the_others(ran):
    needs = {"needs": frozenset({"kernel"})}
    steps = (("a", MEET.format("a", "c"), needs), ("b", "[ -d a ]", needs), ("c", MEET.format("c", "a"), {}))
    assert set(ran(*steps).values()) == {"ok"}


def test_a_step_waits_for_the_one_it_comes_after(ran):
    assert ran(("b", "[ -d a ]", {"after": "a"}), ("a", "sleep 0.3; mkdir a", {})) == {"a": "ok", "b": "ok"}


@pytest.mark.parametrize(
    ("options", "said"),
    [({}, "FAILED"), ({"reason_not_to": lambda: "no such machine"}, "not run: no such machine")],
    ids=["failed", "not run"],
)
def test_a_step_is_not_run_when_what_it_comes_after_is_not_ok(ran, options, said):
    assert ran(("a", "exit 1", options), ("b", "true", {"after": "a"})) == {"a": said, "b": "not run: a " + said}


def test_what_went_before_need_not_be_among_the_steps(ran):
    assert ran(("b", "true", {"after": "a"})) == {"b": "ok"}


def test_the_last_line_is_the_count():
    results = [runner.Result(name, word) for name, word in [("a", "ok"), ("b", "FAILED"), ("c", "not run: why")]]
    assert re.fullmatch("1 passed, 1 failed, 1 skipped", runner.summary(results).splitlines()[-1])


def test_the_end_says_what_failed_and_why(tmp_path):
    steps = (("a", "echo ERROR: here; seq 200; exit 1"), ("b", "echo no such thing; exit 1"), ("c", "echo error"))
    it = runner.Runner(3, tmp_path, {"PATH": os.environ["PATH"]})
    it.run([runner.Step(name, (("sh", "-c", command),), tmp_path) for name, command in steps])
    lines = runner.summary(it.results, it.complaints()).splitlines()
    assert "a: ERROR: here" in lines
    assert "b: no such thing" in lines
    assert not [line for line in lines if line.startswith("c: ")]
