#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Run the checks of the collection: every step of `make test` and `make check` is listed in this file and nowhere else.

usage: run.py [--list] [--quick | STEP...]

A step is a line when it ends, and its output when it failed; then comes a table, and last the count.
Exits non-zero when a step failed, or when none could run.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import artifact
import pythons
import yaml
from runner import FAILED, OK, Runner, Step, Words, summary

REPO = artifact.REPO
TESTS = REPO / "tests"
WORK = REPO / ".cache/test"
LOGS = WORK / "log"
TREE = WORK / "tree" / artifact.PLACE
INSTALLED = WORK / "installed" / artifact.PLACE
LAB = WORK / "lab"
KERNEL = frozenset({"the kernel of this machine"})
PYTHON = sys.executable
# Kinds of plugins that run on the controller alone.
CONTROLLER = ("action", "filter", "plugin_utils")
# A sample of where a change is cut off: make survival has all of it.
EVERY = "61"
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
FIREWALLD = Path("/usr/lib/python3/dist-packages/firewall")
UNIT_ROOMS = "tests/unit/plugins/module_utils/_conntrack"
PURE = ("entries", "findings", "outcome", "owners", "plan", "sources")
LAB_COMMAND = (PYTHON, TESTS / "lab/lab.py", "--at", LAB)

BUILD = Step("build", ((PYTHON, TESTS / "artifact.py", WORK),), REPO)


def steps() -> Iterator[Step]:
    """All that follow BUILD, what takes longest first: then the last ones to end are short. What reads sources reads them in
    TREE; what runs the collection runs INSTALLED."""
    yield Step("lab", ((*LAB_COMMAND, "--owner", str(os.getpid()), "up"),), REPO, lack_of_lab)
    kernel = list(integration()) if list(TESTS.glob("integration/test_*.py")) else []
    yield from kernel[:1]
    yield from scenarios()
    yield from kernel[1:]
    yield Step("sanity", (sanity(PYTHON, "2.19"),), TREE)
    yield from sanity_on_other_cores()
    apart = [f"--ignore=tests/lab/test_{name}.py" for name in ("uml", "unload", "image", "first_boot")]
    lab_tests: Words = (PYTHON, *PYTEST, *apart, "tests/lab")
    yield Step("lab-tests", (lab_tests,), TREE, after="lab")
    unload: Words = (PYTHON, *PYTEST, "-k", "not ended", "tests/lab/test_unload.py")
    yield Step("unload", (unload,), TREE, lack_of_uml)
    image: Words = (PYTHON, *PYTEST, "tests/lab/test_image.py")
    yield Step("image", (image,), TREE, lack_of_uml)
    kills: Words = (PYTHON, "-B", "tests/survival/kills.py", "--every", EVERY)
    yield Step("kills", (kills,), TREE, lack_of_uml)
    checkout = (*unit_paths(), ("CHECKOUT", str(REPO)))
    yield Step("formats", ((PYTHON, *PYTEST, "tests/formats"),), TREE, lack_for_formats, environment=checkout)
    yield from map(units, reversed(pythons.VERSIONS))
    yield page()
    yield Step("ansible-lint", (("ansible-lint", "--offline", "--strict", "--profile", "production"),), TREE)
    yield Step(
        "galaxy-importer",
        ((PYTHON, "-m", "galaxy_importer.main", *WORK.glob("artifact/*.tar.gz")),),
        where=WORK / "artifact",
        environment=(("GALAXY_IMPORTER_CHECK_REQUIRED_TAGS", "true"),),
        forbidden=r"WARNING|ERROR",
    )
    yield from types()
    docs_lint = ("lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "--validate-collection-refs=all", ".")
    yield Step("antsibull-docs", (("antsibull-docs", *docs_lint),), TREE)
    yield from lint()


def quick() -> Iterator[Step]:
    """What follows BUILD for the hand: done before one has thought of something else. Two of the steps take long, one a core."""
    yield units_here("unit-rest", first=False)
    yield units_here("unit", first=True)
    yield from types()
    yield from lint()


def types() -> Iterator[Step]:
    mypy = ("mypy", "--config-file", TREE / "pyproject.toml", "--cache-dir")
    yield Step(
        "mypy",
        (
            (
                *mypy,
                WORK / "mypy",
                TREE / "plugins/module_utils/_conntrack",
                *(TREE / f"plugins/{kind}" for kind in CONTROLLER),
            ),
            # Scripts that import each other by their bare names.
            (*mypy, WORK / "mypy-tests", "--no-explicit-package-bases", *sorted(TREE.glob("tests/*.py"))),
            (*mypy, WORK / "mypy-lab", "--no-explicit-package-bases", *sorted(TREE.glob("tests/lab/*.py"))),
            (*mypy, WORK / "mypy-molecule", "--no-explicit-package-bases", *sorted(TREE.glob("extensions/**/*.py"))),
        ),
        where=WORK / "tree",
    )
    measured = ("survival", "outcome")
    yield Step(
        "mypy-measured",
        tuple(
            (*mypy, WORK / "mypy-measured", "--no-explicit-package-bases", "-p", f"tests.{name}") for name in measured
        ),
        TREE,
    )


def lint() -> Iterator[Step]:
    yield Step("ruff", (("ruff", "check", "--no-cache", "--output-format", "concise"),), TREE)
    yield Step("ruff-format", (("ruff", "format", "--no-cache", "--diff"),), TREE)
    yield Step("yamllint", (("yamllint", "--strict", "."),), TREE)
    yield Step("antsibull-changelog", (("antsibull-changelog", "lint"),), TREE)
    shellcheck: Words = ("shellcheck", *shell_scripts())
    yield Step("shellcheck", (shellcheck,), TREE, lambda: lack_of("shellcheck", package="shellcheck"))


def sanity(python: str | Path, core: str, *options: str) -> Words:
    """ansible-test sanity of the ansible-core beside a Python; never with a file of what to ignore."""
    return (python, TESTS / "sanity.py", TREE, WORK / f"sanity-{core}", *options)


def sanity_on_other_cores() -> Iterator[Step]:
    """What differs from one core to the other, on the oldest, the only one that knows Python 3.6 and 3.7, and on the newest."""
    documented = ("--test=runtime-metadata", "--test=validate-modules")
    cores = (("2.16", "3.10", ("3.6", "3.7"), ()), ("2.21", "3.13", ("3.13",), ("--test=ansible-doc",)))
    for core, controller, targets, more in cores:
        here = partial(sanity, unit_python(controller), core)
        imported = (
            here("--test=compile", "--test=import", f"--python={version}")
            for version in targets
            if version in pythons.find()
        )
        yield Step(
            f"sanity-{core}",
            (unit_environment(controller), *imported, here(*documented, *more)),
            TREE,
            partial(lack_of_python, controller),
        )


def unit_python(version: str) -> Path:
    """In the environment with the ansible-core that goes with a Python: requirements-unit.txt has which."""
    return REPO / f".cache/unit/{version}/bin/python"


def unit_environment(version: str) -> Words:
    options = ("--no-deps", "--ignore-requires-python")
    python = pythons.find().get(version, "")
    return (REPO / "tools/venv", f".cache/unit/{version}", "requirements-unit.txt", python, *options)


def page() -> Step:
    """Reports, as Debian's Chromium shows them and others read them."""
    environment = (REPO / "tools/venv", ".cache/page", "requirements-page.txt")
    tests: Words = (REPO / ".cache/page/bin/python", *PYTEST, "tests/page")
    return Step("page", (environment, tests), TREE, lambda: lack_of("chromium", "chromium"), unit_paths())


def units(version: str) -> Step:
    """The unit tests on one Python; what takes long and hardly depends on it, on the newest alone. Rules without any input or output
    are tried on the oldest and on the newest: what one Python has and another has not is at one of the ends."""
    python = unit_python(version)
    found = list(pythons.find())
    same: Words = () if found[-1:] == [version] else ("-m", "not on_one_python", "--ignore-glob=*_properties.py")
    if version in found[1:-1]:
        same = (*same, *(f"--ignore={UNIT_ROOMS}/{room}" for room in PURE))
    return Step(
        f"unit-{version}",
        (
            unit_environment(version),
            # Modules that no test imports have to be read, too.
            (
                python,
                "-m",
                "compileall",
                "-q",
                "-f",
                *(INSTALLED / f"plugins/{kind}" for kind in ("modules", "module_utils")),
            ),
            (python, *PYTEST, *same, "tests/unit"),
        ),
        TREE,
        lambda: lack_of_python(version),
        environment=unit_paths(),
    )


def units_here(name: str, first: bool) -> Step:
    """Half of the unit tests, on the Python of the tools."""
    rooms = [f"{UNIT_ROOMS}/{room}" for room in ("entries", "host", "outcome")]
    chosen = rooms if first else ["tests/unit", *(f"--ignore={room}" for room in rooms)]
    return Step(name, ((PYTHON, *PYTEST, "-m", "not on_one_python", *chosen),), TREE, environment=unit_paths())


def unit_paths() -> tuple[tuple[str, str], ...]:
    return (
        # One namespace, ansible_collections.headroom.netfilter, with plugins from the one and tests from the other.
        ("PYTHONPATH", os.pathsep.join([str(WORK / "installed"), str(WORK / "tree")])),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONPYCACHEPREFIX", str(WORK / "pycache")),
    )


def scenarios() -> Iterator[Step]:
    """Molecule, on the machines of the lab; on others than usual with SCENARIO_HOSTS=lab, or the name of one."""
    groups = yaml.safe_load((REPO / "extensions/molecule/inventory.yml").read_text(encoding="utf-8"))["all"]["children"]
    for scenario in (name for name in groups if name != "lab"):
        state = WORK / "molecule" / scenario
        yield Step(
            f"molecule-{scenario.removeprefix('conntrack_')}",
            (("rm", "-rf", state), ("molecule", "test", "--destroy=never", "--scenario-name", scenario)),
            where=TREE,
            environment=(("LAB", str(LAB)), ("MOLECULE_EPHEMERAL_DIRECTORY", str(state))),
            needs=hosts_of(os.environ.get("SCENARIO_HOSTS") or scenario, groups),
            after="lab",
        )


def hosts_of(name: str, groups: dict[str, dict[str, dict[str, None]]]) -> frozenset[str]:
    """Of a group of an inventory, with those of its children; what is no group is a host."""
    group = groups.get(name, {"hosts": {name: None}})
    return frozenset(group.get("hosts", ())).union(*(hosts_of(child, groups) for child in group.get("children", ())))


def integration() -> Iterator[Step]:
    """The kernel of this machine, with the modules on the system's Python; then other cores, with other Pythons."""
    command: Words = (PYTHON, *PYTEST, "--durations=15", "tests/integration")
    yield Step("integration", (command,), TREE, lack_for_integration, needs=KERNEL)
    # What other programs make of files does not depend on the core; a run killed at every task takes long.
    command = (*command, "--ignore-glob=*_oracle.py", "-m", "not on_one_core")
    for core, controller, target in (("2.16", "3.10", "3.6"), ("2.21", "3.13", "3.13")):
        playbook = unit_python(controller).with_name("ansible-playbook")
        options = (f"--ansible-playbook={playbook}", f"--target-python={pythons.find().get(target)}")
        yield Step(
            f"integration-{core}",
            (unit_environment(controller), (*command, *options)),
            TREE,
            partial(lack_for_integration, controller, target),
            needs=KERNEL,
        )
    # Of what is taken for a template, the last one of the kind before 2.19.
    directory = ".cache/integration/2.18"
    command = (PYTHON, *PYTEST, "tests/integration/test_hostile_answers.py")
    yield Step(
        "integration-2.18",
        (
            (REPO / "tools/venv", directory, "requirements-2.18.txt", pythons.find().get("3.11", "")),
            (*command, f"--ansible-playbook={REPO / directory / 'bin/ansible-playbook'}"),
        ),
        TREE,
        lambda: lack_of_python("3.11"),
    )


def shell_scripts() -> list[Path]:
    def is_one(path: Path) -> bool:
        with path.open("rb") as opened:
            return re.match(rb"#!.*\b(ba|da)?sh\b", opened.readline(80)) is not None

    files = (path for path in TREE.rglob("*") if ".git" not in path.parts and path.is_file() and not path.is_symlink())
    return sorted(path.relative_to(TREE) for path in files if is_one(path))


def lack_of(command: str, package: str) -> str | None:
    """Why a step that needs a command cannot run. As root on Debian and its kin, the command is installed."""
    if not shutil.which(command):
        install(package)
    return None if shutil.which(command) else f"{command} is not installed"


def install(package: str) -> None:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing {package} with apt-get ...", flush=True)
        with (LOGS / f"apt-{package}.log").open("wb") as log:
            for arguments in (["update"], ["install", "--yes", "--no-install-recommends", package]):
                subprocess.run(["apt-get", *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)


def lack_of_python(*versions: str) -> str | None:
    lacking = [version for version in versions if version not in pythons.find()]
    return f"no Python {' and '.join(lacking)} with venv here" if lacking else None


def lack_of_lab() -> str | None:
    """Why there can be no virtual machines here; as root on Debian and its kin, what they run on is installed."""
    checked = subprocess.run([*LAB_COMMAND, "check"], capture_output=True, text=True, check=False)
    return checked.stderr.strip() or "there can be no lab here" if checked.returncode else None


def lack_of_uml() -> str | None:
    """The same of user-mode guests."""
    checked = subprocess.run([PYTHON, TESTS / "lab/uml.py", "check"], capture_output=True, text=True, check=False)
    return checked.stderr.strip() or "there can be no user-mode guests here" if checked.returncode else None


def lack_for_formats() -> str | None:
    """What one of the tools lacks, its test says."""
    lack_of("shellcheck", package="shellcheck")
    return "needs root" if os.geteuid() != 0 else None


def lack_for_integration(*versions: str) -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/proc/sys/net/netfilter").is_dir():
        return "this kernel shows no /proc/sys/net/netfilter"
    # What reads its configuration, without the daemon; where it cannot be had, the comparison with it is skipped.
    if not FIREWALLD.is_dir():
        install("python3-firewall")
    programs = (lack_of(command, package) for command, package in (("conntrack", "conntrack"), ("nft", "nftables")))
    return next(filter(None, programs), None) or lack_of_python(*versions)


def environment() -> dict[str, str]:
    """The caller's, without what would bend Ansible or Python; the tools beside this Python come first in PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    return {
        **kept,
        "ANSIBLE_COLLECTIONS_PATH": str(WORK / "installed"),
        "NO_COLOR": "1",
        "PATH": os.pathsep.join([str(Path(PYTHON).parent), os.environ.get("PATH", os.defpath)]),
    }


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """All that a run makes lies in WORK: a second run in this checkout waits for the first."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another run of these checks in this checkout ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: argparse.Namespace) -> int:
    every = quick if arguments.quick else steps
    names = [BUILD.name, *(step.name for step in every())]
    if arguments.list:
        print(*names, sep="\n")
        return 0
    unknown = set(arguments.step) - set(names)
    if unknown:
        print(f"no such step: {', '.join(sorted(unknown))}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    wanted = set(arguments.step or names)
    # What the others need: something built, and machines.
    chosen = wanted | {BUILD.name} | {step.after for step in every() if step.after and step.name in wanted}
    runner = Runner(len(chosen), LOGS, environment())
    with one_at_a_time():
        runner.run([BUILD])
        rest = [step for step in every() if step.name in chosen]
        if runner.results[0].word == OK:
            runner.run(rest)
        else:
            for step in rest:
                runner.not_run(step, "nothing was built")
    results = sorted(runner.results, key=lambda result: names.index(result.name))
    if arguments.quick:
        left = [step.name for step in steps() if step.name not in names]
        print(f"\nLeft out: unit tests marked on_one_python, {', '.join(left)}. The rest: make test")
    print(f"\n{summary(results, runner.complaints())}")
    words = [result.word for result in results]
    return 1 if FAILED in words or OK not in words else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description="Run the checks of the collection.")
    parser.add_argument("--list", action="store_true", help="print the names of the steps")
    parser.add_argument("--quick", action="store_true", help="lint, types, and the unit tests on one Python")
    parser.add_argument("step", nargs="*", help="run only this one, and the build that it needs")
    try:
        sys.exit(main(parser.parse_args()))
    except KeyboardInterrupt:
        sys.exit("stopped")
