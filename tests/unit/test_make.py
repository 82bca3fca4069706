# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a caller gives make reaches the programs as it is: nothing in it is expanded or run on the way."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.skipif(
        sys.version_info < (3, 10) or not shutil.which("make"), reason="make and tools are for the controller"
    ),
    pytest.mark.on_one_python,
]
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GIVEN = ("INVENTORY", "EXTRA", "STEPS", "HOST", "REPORT", "PYTHON", "LAB")

# The programs that make calls, but for those that are looked at here: each tells what it was called with.
TELLING = f"""#!{sys.executable}
import json, os, sys
with open("told", "a") as told:
    print(json.dumps([sys.argv, {{name: os.environ.get(name) for name in {GIVEN}}}]), file=told)
"""
# A Python for what is looked at here, and a telling program for the rest.
PYTHON = f"""#!/bin/sh
case $1 in tools/words.py) exec {sys.executable} "$@";; esac
exec ./telling "$0" "$@"
"""
QUIET = "#!/bin/sh\n"

MARKS = (
    "$(shell touch mark)",
    "$(shell touch mark)$$",
    "${x}$x$$x",
    "`touch mark`",
    "$(touch mark)",
    "; touch mark",
    "x\ntouch mark\n",
)
HOSTILE = [
    *MARKS,
    "it's",
    'say "so"',
    "a  b\t c",
    "a\\",
    "#c",
    "| touch mark",
    "a'; touch mark; '",
    '"; touch mark; "',
    "*",
    "~",
    "é",
    "-x",
]


@pytest.fixture
def checkout(tmp_path):
    """This Makefile and these tools, with nothing behind them."""
    for name in ("Makefile", "tools/play", "tools/words.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(os.path.join(HOME, name), tmp_path / name)
    stubs = {
        "telling": TELLING,
        "tools/venv": QUIET,
        "tools/collection": QUIET,
        ".venv/bin/python": PYTHON,
        ".venv/bin/ansible-playbook": TELLING,
        ".venv-test/bin/python": PYTHON,
        ".cache/page/bin/python": PYTHON,
    }
    for name, text in stubs.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


class Made:
    def __init__(self, checkout, how, target, **given):
        # A make that runs this test hands on what it was given itself.
        clean = {
            name: value
            for name, value in os.environ.items()
            if name not in (*GIVEN, "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
        }
        command = ["make", "-f", "Makefile", target]
        if how == "environment":
            clean.update(given)
        else:
            command += [f"{name}={value}" for name, value in given.items()]
        done = subprocess.run(
            command, cwd=checkout, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        self.code, self.output = done.returncode, done.stdout + done.stderr
        told = checkout / "told"
        self.told = [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []
        assert not (checkout / "mark").exists()

    def argv(self, program):
        """The arguments of the only call of a program."""
        assert self.code == 0, self.output
        (found,) = [argv for argv, _environment in self.told if program in " ".join(argv[:5])]
        return found


on_both_ways = pytest.mark.parametrize("how", ["command line", "environment"])


@on_both_ways
@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_the_inventory_is_that_file(checkout, how, name):
    (checkout / name).write_text("")
    made = Made(checkout, how, "tune", INVENTORY=name, EXTRA="")
    assert made.argv("ansible-playbook")[1:] == ["headroom.netfilter.tune", f"--inventory={name}"]


@on_both_ways
@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_an_inventory_that_is_not_there_is_named(checkout, how, name):
    made = Made(checkout, how, "tune", INVENTORY=name)
    assert made.code != 0
    assert f"INVENTORY={name}: there is no such file" in made.output


# What is given, and the words that it is.
WORDS = [
    ("", []),
    ("-e conntrack_max=300000 --check --diff", ["-e", "conntrack_max=300000", "--check", "--diff"]),
    ('-e \'{"conntrack_timeouts": {"udp": 40}}\'', ["-e", '{"conntrack_timeouts": {"udp": 40}}']),
    ("-e 'a=it'\\''s' \"b c\" d\\ e", ["-e", "a=it's", "b c", "d e"]),
    ("'' \"\" x''", ["", "", "x"]),
    ('a\nb \'c\nd\' "e\nf" g\\\nh "i\\\nj"', ["a", "b", "c\nd", "e\nf", "gh", "ij"]),
    ('"\\$x \\` \\" \\\\ \\n"', ['$x ` " \\ \\n']),
    (
        "$x ${x} $(touch mark) `touch mark` ; touch mark",
        ["$x", "${x}", "$(touch", "mark)", "`touch", "mark`", ";", "touch", "mark"],
    ),
    (
        "'$(shell touch mark)' *.ini ~ #c {a,b} <x >y & | !z",
        ["$(shell touch mark)", "*.ini", "~", "#c", "{a,b}", "<x", ">y", "&", "|", "!z"],
    ),
    ("$(shell touch mark) $$x", ["$(shell", "touch", "mark)", "$$x"]),
]


@on_both_ways
@pytest.mark.parametrize(
    ("target", "variable", "program"),
    [
        ("tune", "EXTRA", "ansible-playbook"),
        ("audit", "EXTRA", "ansible-playbook"),
        ("bench", "EXTRA", "tests.bench.run"),
        ("survival", "EXTRA", "tests.survival.run"),
        ("test", "STEPS", "tests/run.py"),
    ],
)
@pytest.mark.parametrize(("text", "words"), WORDS, ids=repr)
def test_words(checkout, how, target, variable, program, text, words):
    made = Made(checkout, how, target, **{"INVENTORY": "a,", variable: text})
    if target == "survival":  # Has another call of tests/run.py, and more.
        made.code = 0
    argv = made.argv(program)
    assert argv[len(argv) - len(words) :] == words
    assert argv[len(argv) - len(words) - 1] in ("--inventory=a,", program)


def test_check_is_the_quick_steps_whatever_is_given(checkout):
    made = Made(checkout, "environment", "check", STEPS="ruff", EXTRA="--check")
    assert made.argv("tests/run.py")[1:] == [".venv-test/bin/python", "tests/run.py", "--quick"]


def test_help_has_a_line_for_each_target(checkout):
    text = (checkout / "Makefile").read_text()
    (phony,) = [line.split()[1:] for line in text.splitlines() if line.startswith(".PHONY:")]
    shown = [
        line.split()[1]
        for line in Made(checkout, "environment", "help").output.splitlines()
        if line.startswith("make ")
    ]
    assert shown == [target for target in phony if target != "help"]


@on_both_ways
@pytest.mark.parametrize("target", ["tune", "audit", "bench", "survival", "test"])
@pytest.mark.parametrize("text", ["-e 'a=$x", 'a "b', "a\\", "it's", '"\\"'], ids=repr)
def test_a_quote_without_its_end_is_refused(checkout, how, target, text):
    variable = "STEPS" if target == "test" else "EXTRA"
    made = Made(checkout, how, target, **{"INVENTORY": "a,", variable: text})
    assert made.code != 0
    assert f"{variable}={text!r}: a quote has no end" in made.output
    assert made.told == []


def test_what_is_refused_is_shown_cut(checkout):
    made = Made(checkout, "environment", "tune", INVENTORY="a,", EXTRA="'\x1b" + "x" * 90000)
    assert "EXTRA=" in made.output
    assert len(made.output) < 400
    assert "\x1b" not in made.output


@on_both_ways
@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_the_machine_of_the_lab(checkout, how, value):
    python = checkout / value
    shutil.copy(checkout / "telling", python)
    made = Made(checkout, how, "lab-ssh", HOST=value, PYTHON=f"./{value}")
    assert made.argv("lab.py")[1:] == ["tests/lab/lab.py", "ssh", value]


@on_both_ways
@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_what_the_programs_find_in_their_environment(checkout, how, value):
    """Whatever else is given goes into the environment, too: --at of tests/lab/lab.py is LAB."""
    given = {name: value for name in GIVEN if name != "PYTHON"}
    made = Made(checkout, how, "lab", PYTHON="./telling", **given)
    ((argv, found),) = made.told
    assert argv == ["./telling", "tests/lab/lab.py", "up"]
    assert {name: found[name] for name in given} == given


def test_what_is_not_given(checkout):
    made = Made(checkout, "environment", "bench")
    assert made.argv("tests.bench.run")[1:] == [".venv/bin/python", "-B", "-m", "tests.bench.run"]
    defaults = made.told[0][1]
    assert (defaults["INVENTORY"], defaults["HOST"], defaults["EXTRA"]) == ("localhost", "bookworm", "")


def test_options_before_those_of_extra(checkout):
    environment = dict(os.environ, EXTRA="--check '$x y'", CDPATH="/")
    subprocess.run(["tools/play", "tune", "a,", "--limit", "b c"], cwd=checkout, env=environment, check=True)
    ((argv, _environment),) = map(json.loads, (checkout / "told").read_text().splitlines())
    assert argv[2:] == ["--inventory=a,", "--limit", "b c", "--check", "$x y"]


@on_both_ways
@pytest.mark.parametrize("name", ["reports", *HOSTILE], ids=repr)
def test_the_folder_of_a_report_is_found_by_the_playbook(checkout, how, name):
    made = Made(checkout, how, "audit", INVENTORY="a,", REPORT=name)
    said = made.argv("ansible-playbook")[-1]
    assert json.loads(said) == {"audit_report": '{{ lookup("env", "REPORT") }}'}
    assert [given["REPORT"] for argv, given in made.told if "ansible-playbook" in argv[0]] == [name]


def test_a_report_is_of_an_audit(checkout):
    assert Made(checkout, "environment", "tune", INVENTORY="a,", REPORT="x").argv("ansible-playbook")[2:] == [
        "--inventory=a,"
    ]


def test_words_are_those_of_a_shell(checkout):
    """Texts of all that quotes, against the shell of this machine."""
    hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
    spec = importlib.util.spec_from_file_location("words", os.path.join(HOME, "tools/words.py"))
    words = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(words)

    @hypothesis.given(hypothesis.strategies.text("ab'\"\\ \n\t.", max_size=12))
    def same(text):
        try:
            found = words.split(text)
        except words.Unbalanced:
            return
        shell = subprocess.run(
            ["bash", "-c", f"words=({text}\n); printf '%s\\0' \"${{words[@]}}\" end"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert shell.stdout.split("\0") == [*found, "end", ""]

    same()
