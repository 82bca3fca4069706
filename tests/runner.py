# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Runs steps, some at a time, and tells of each as it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, NamedTuple

AT_ONCE = 2
LIMIT_SECONDS = 3600
LINES_SHOWN = 120
LINES_REPEATED, COLUMNS_REPEATED = 8, 200

OK, FAILED, NOT_RUN = "ok", "FAILED", "not run"

Words = tuple["str | Path", ...]


class Step(NamedTuple):
    name: str
    commands: tuple[Words, ...]
    """Run one after the other, until one fails."""
    where: Path
    reason_not_to: Callable[[], str | None] = lambda: None
    """Why the step cannot run here; None when it can."""
    environment: tuple[tuple[str, str], ...] = ()
    forbidden: str = ""
    """What no line of output may begin with, for tools that complain and then exit with 0."""
    needs: frozenset[str] = frozenset()
    """What it has to itself while it runs, by name: no other step that needs the same runs beside it."""
    after: str = ""
    """The step that has to be done before; unless that was ok, this one is not run."""


class Result(NamedTuple):
    name: str
    word: str
    seconds: float = 0.0


class Runner:
    """Keeps what became of each step in ``results``, and what it printed in LOGS/NAME.log."""

    def __init__(self, total: int, logs: Path, environment: dict[str, str]) -> None:
        self.total = total
        self.logs = logs
        self.environment = environment
        self.results: list[Result] = []
        self._running: set[subprocess.Popen[bytes]] = set()

    def run(self, steps: Iterable[Step]) -> None:
        """First say which cannot run; then run the others in their order, as far as what they need is free."""
        waiting = [step for step in steps if self._is_able(step)]
        running: dict[Future[Result], Step] = {}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                while waiting or running:
                    while len(running) < AT_ONCE and (step := first_free(waiting, running.values())):
                        waiting.remove(step)
                        reason = self._reason_of(step.after)
                        if reason:
                            self.not_run(step, reason)
                        else:
                            running[pool.submit(self._execute, step)] = step
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        del running[future]
                        self._tell(future.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in self._running.copy():
                    end(process)
                raise

    def not_run(self, step: Step, reason: str) -> None:
        self._tell(Result(step.name, f"{NOT_RUN}: {reason}"))

    def _is_able(self, step: Step) -> bool:
        reason = step.reason_not_to()
        if reason:
            self.not_run(step, reason)
        return reason is None

    def _reason_of(self, after: str) -> str | None:
        """Why what had to be done before was not ok; None if it was."""
        words = [result.word for result in self.results if result.name == after and result.word != OK]
        return f"{after} {words[0]}" if words else None

    def _tell(self, result: Result) -> None:
        self.results.append(result)
        seconds = f" {result.seconds:.1f} s" if result.seconds else ""
        print(f"[{len(self.results)}/{self.total}] {result.name} ... {result.word}{seconds}", flush=True)
        if result.word == FAILED:
            log = self._log_of(result.name)
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            shown = lines[-LINES_SHOWN:]
            print(*(f"    {line}" for line in shown), sep="\n")
            print(f"    ({len(shown)} of {len(lines)} lines; all: {os.path.relpath(log)})", flush=True)

    def complaints(self) -> list[str]:
        """Of each step that failed, the last lines of its log that speak of it: who sees only the end sees why."""
        found = []
        for name in (result.name for result in self.results if result.word == FAILED):
            lines = self._log_of(name).read_text(encoding="utf-8", errors="replace").splitlines()
            telling = [line for line in lines if re.search("error|fail", line, re.IGNORECASE)] or lines
            found += [f"{name}: {line}"[:COLUMNS_REPEATED] for line in telling[-LINES_REPEATED:]]
        return found

    def _log_of(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _execute(self, step: Step) -> Result:
        started = time.monotonic()
        with self._log_of(step.name).open("w+", encoding="utf-8", errors="replace") as log:
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
                env={**self.environment, **dict(step.environment)},
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


def first_free(waiting: list[Step], running: Collection[Step]) -> Step | None:
    """The first step that can run beside those that run."""
    taken = frozenset[str]().union(*(step.needs for step in running))
    to_come = {step.name for step in (*waiting, *running)}
    return next((step for step in waiting if step.after not in to_come and not step.needs & taken), None)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and what it has started: first as Ctrl-C does, so that it can put things back."""
    for number, patience in ((signal.SIGINT, 60), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def summary(results: list[Result], complaints: Iterable[str] = ()) -> str:
    """A table of what became of each step, what failed steps said, and the count, which is alone on the last line."""
    name_width = max(len(result.name) for result in results)
    word_width = max(len(result.word) for result in results)
    rows = [f"{result.name:{name_width}}  {result.word:{word_width}}  {result.seconds:7.1f}" for result in results]
    heading = f"{'step':{name_width}}  {'result':{word_width}}  seconds"
    passed, failed = (sum(result.word == word for result in results) for word in (OK, FAILED))
    count = f"{passed} passed, {failed} failed, {len(results) - passed - failed} skipped"
    return "\n".join([heading, *rows, "", *complaints, count])
