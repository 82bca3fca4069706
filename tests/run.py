#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Run the checks of the collection: every step of `make test` is listed in this file and nowhere else.

usage: run.py [--list] [STEP...]

A step is a line when it ends, and its output when it failed; then comes a table, and last the count.
Exits non-zero when a step failed, or when none could run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO, NamedTuple

import artifact
import pythons

REPO = artifact.REPO
TESTS = REPO / "tests"
WORK = REPO / ".cache/test"
LOGS = WORK / "log"
TREE = WORK / "tree" / artifact.PLACE
INSTALLED = WORK / "installed" / artifact.PLACE
PYTHON = sys.executable

AT_ONCE = 2
LIMIT_SECONDS = 1800
LINES_SHOWN = 120

Words = tuple["str | Path", ...]


class Step(NamedTuple):
    name: str
    commands: tuple[Words, ...]
    """Run one after the other, until one fails."""
    reason_not_to: Callable[[], str | None] = lambda: None
    """Why the step cannot run here; None when it can."""
    where: Path = TREE
    environment: tuple[tuple[str, str], ...] = ()
    forbidden: str = ""
    """What no line of output may begin with, for tools that complain and then exit with 0."""
    alone: bool = False
    """Run when nothing else does, because it changes the kernel that all share."""


class Result(NamedTuple):
    name: str
    word: str
    seconds: float = 0.0


OK, FAILED, NOT_RUN = "ok", "FAILED", "not run"

BUILD = Step("build", ((PYTHON, TESTS / "artifact.py", WORK),), where=REPO)


def steps() -> Iterator[Step]:
    """All that follow BUILD. What reads sources reads them in TREE; what runs the collection runs INSTALLED."""
    yield Step("sanity", ((PYTHON, TESTS / "sanity.py", TREE, WORK / "home"),))
    yield Step("ansible-lint", (("ansible-lint", "--offline", "--strict", "--profile", "production"),))
    yield Step(
        "galaxy-importer",
        ((PYTHON, "-m", "galaxy_importer.main", *WORK.glob("artifact/*.tar.gz")),),
        where=WORK / "artifact",
        environment=(("GALAXY_IMPORTER_CHECK_REQUIRED_TAGS", "true"),),
        forbidden=r"WARNING|ERROR",
    )
    yield Step("ruff", (("ruff", "check", "--no-cache", "--output-format", "concise"),))
    yield Step("ruff-format", (("ruff", "format", "--no-cache", "--diff"),))
    mypy = ("mypy", "--config-file", TREE / "pyproject.toml", "--cache-dir")
    yield Step(
        "mypy",
        (
            (*mypy, WORK / "mypy", TREE / "plugins/module_utils/_conntrack", TREE / "plugins/filter"),
            # Scripts that import each other by their bare names.
            (*mypy, WORK / "mypy-tests", "--no-explicit-package-bases", *sorted(TREE.glob("tests/*.py"))),
        ),
        where=WORK / "tree",
    )
    yield Step("yamllint", (("yamllint", "--strict", "."),))
    docs_lint = ("lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "--validate-collection-refs=all", ".")
    yield Step("antsibull-docs", (("antsibull-docs", *docs_lint),))
    yield Step("antsibull-changelog", (("antsibull-changelog", "lint"),))
    yield Step("shellcheck", (("shellcheck", *shell_scripts()),), lambda: lack_of("shellcheck", package="shellcheck"))
    yield from map(unit_step, pythons.VERSIONS)
    if (TESTS / "integration/run.py").exists():
        yield Step("integration", ((PYTHON, TESTS / "integration/run.py"),), lack_of_kernel, alone=True)
    if (TESTS / "integration/controllers.py").exists():
        yield Step("controllers", ((PYTHON, TESTS / "integration/controllers.py"),), lack_of_kernel, alone=True)


def unit_step(version: str) -> Step:
    """The unit tests on one Python, with the ansible-core that goes with it."""
    python = pythons.find().get(version)
    environment = f".cache/unit/{version}"
    installed = REPO / environment / "bin/python"
    pip_options = ("--no-deps", "--ignore-requires-python")
    return Step(
        f"unit-{version}",
        (
            (REPO / "tools/venv", environment, "requirements-unit.txt", python or "", *pip_options),
            # Modules that no test imports have to be read, too.
            (
                installed,
                "-m",
                "compileall",
                "-q",
                "-f",
                INSTALLED / "plugins/modules",
                INSTALLED / "plugins/module_utils",
            ),
            (installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit"),
        ),
        lambda: None if python else f"no Python {version} with venv here",
        environment=(
            # One namespace, ansible_collections.headroom.netfilter, with plugins from the one and tests from the other.
            ("PYTHONPATH", os.pathsep.join([str(WORK / "installed"), str(WORK / "tree")])),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PYTHONPYCACHEPREFIX", str(WORK / "pycache")),
        ),
    )


def shell_scripts() -> list[Path]:
    def is_one(path: Path) -> bool:
        with path.open("rb") as opened:
            return re.match(rb"#!.*\b(ba|da)?sh\b", opened.readline(80)) is not None

    files = (path for path in TREE.rglob("*") if ".git" not in path.parts and path.is_file() and not path.is_symlink())
    return sorted(filter(is_one, files))


def lack_of(command: str, package: str) -> str | None:
    """Why a step that needs a command cannot run. As root on Debian and its kin, the command is installed."""
    if not shutil.which(command) and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing {package} with apt-get ...", flush=True)
        with (LOGS / f"apt-{package}.log").open("wb") as log:
            for arguments in (["update"], ["install", "--yes", "--no-install-recommends", package]):
                subprocess.run(["apt-get", *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    return None if shutil.which(command) else f"{command} is not installed"


def lack_of_kernel() -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/proc/sys/net/netfilter").is_dir():
        return "this kernel shows no /proc/sys/net/netfilter"
    return None


class Runner:
    """Runs steps and tells of each as it ends."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.results: list[Result] = []
        self._running: set[subprocess.Popen[bytes]] = set()

    def run(self, wanted: Iterable[Step]) -> None:
        """Those that cannot run first, to have it said; then two at a time; then those that must be alone."""
        able = [step for step in wanted if self._is_able(step)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            pending = [pool.submit(self._execute, step) for step in able if not step.alone]
            try:
                self._tell_each(pending)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in self._running.copy():
                    end(process)
                raise
        for step in able:
            if step.alone:
                self.run([step._replace(alone=False)])

    def not_run(self, step: Step, reason: str) -> None:
        self._tell(Result(step.name, f"{NOT_RUN}: {reason}"))

    def _is_able(self, step: Step) -> bool:
        reason = step.reason_not_to()
        if reason:
            self.not_run(step, reason)
        return reason is None

    def _tell_each(self, pending: list[Future[Result]]) -> None:
        for future in as_completed(pending):
            self._tell(future.result())

    def _tell(self, result: Result) -> None:
        self.results.append(result)
        seconds = f" {result.seconds:.1f} s" if result.seconds else ""
        print(f"[{len(self.results)}/{self.total}] {result.name} ... {result.word}{seconds}", flush=True)
        if result.word == FAILED:
            lines = log_of(result.name).read_text(encoding="utf-8", errors="replace").splitlines()
            shown = lines[-LINES_SHOWN:]
            print(*(f"    {line}" for line in shown), sep="\n")
            print(f"    ({len(shown)} of {len(lines)} lines, all: {log_of(result.name).relative_to(REPO)})", flush=True)

    def _execute(self, step: Step) -> Result:
        started = time.monotonic()
        with log_of(step.name).open("w+", encoding="utf-8", errors="replace") as log:
            ok = all(self._succeeds(words, step, log) for words in step.commands)
            log.seek(0)
            ok = ok and not (step.forbidden and any(re.match(step.forbidden, line) for line in log))
        return Result(step.name, OK if ok else FAILED, time.monotonic() - started)

    def _succeeds(self, words: Words, step: Step, log: IO[str]) -> bool:
        print("$", *words, file=log, flush=True)
        try:
            process = subprocess.Popen(
                words,
                cwd=step.where,
                env=environment_of(step),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            print(error, file=log)
            return False
        self._running.add(process)
        try:
            return process.wait(LIMIT_SECONDS) == 0
        except subprocess.TimeoutExpired:
            print(f"stopped, for it was not done after {LIMIT_SECONDS} seconds", file=log)
            return False
        finally:
            end(process)
            self._running.discard(process)


def environment_of(step: Step) -> dict[str, str]:
    """The caller's, without what would bend Ansible or Python; the tools beside this Python come first in PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    return {
        **kept,
        "ANSIBLE_COLLECTIONS_PATH": str(WORK / "installed"),
        "NO_COLOR": "1",
        "PATH": os.pathsep.join([str(Path(PYTHON).parent), os.environ.get("PATH", os.defpath)]),
        **dict(step.environment),
    }


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and what it has started: first as Ctrl-C does, so that it can put things back."""
    for number, patience in ((signal.SIGINT, 30), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def log_of(name: str) -> Path:
    return LOGS / f"{name}.log"


def table(results: list[Result]) -> str:
    width = max(len(result.name) for result in results)
    word_width = max(len(result.word) for result in results)
    rows = [f"{result.name:{width}}  {result.word:{word_width}}  {result.seconds:7.1f}" for result in results]
    return "\n".join([f"{'step':{width}}  {'result':{word_width}}  seconds", *rows])


def main(arguments: argparse.Namespace) -> int:
    LOGS.mkdir(parents=True, exist_ok=True)
    names = [BUILD.name, *(step.name for step in steps())]
    if arguments.list:
        print(*names, sep="\n")
        return 0
    unknown = set(arguments.step) - set(names)
    if unknown:
        print(f"no such step: {', '.join(sorted(unknown))}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    chosen = {BUILD.name, *(arguments.step or names)}  # the others need what the first makes
    runner = Runner(len(chosen))
    runner.run([BUILD])
    rest = [step for step in steps() if step.name in chosen]
    if runner.results[0].word == OK:
        runner.run(rest)
    else:
        for step in rest:
            runner.not_run(step, "nothing was built")

    order = {name: number for number, name in enumerate(names)}
    results = sorted(runner.results, key=lambda result: order[result.name])
    passed, failed = (sum(result.word == word for result in results) for word in (OK, FAILED))
    print(f"\n{table(results)}\n\n{passed} passed, {failed} failed, {len(results) - passed - failed} skipped")
    return 1 if failed or not passed else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the checks of the collection.")
    parser.add_argument("--list", action="store_true", help="print the names of the steps")
    parser.add_argument("step", nargs="*", help="run only this one, and the build that it needs")
    return parser.parse_args()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(parse()))
    except KeyboardInterrupt:
        sys.exit("stopped")
