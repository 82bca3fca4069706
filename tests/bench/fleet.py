# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What one host more costs in a large fleet: tune with nothing to change against a ping, and write docs/large-fleets.md.

All hosts are this machine over local connections, so that what is measured is the controller and the modules, and no ssh. /etc,
/var/lib and /run are private meanwhile. Needs root. `make bench` calls it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.bench import hosts, live, page

REPO = Path(__file__).resolve().parent.parent.parent
TUNE, PING = "headroom.netfilter.tune", str(REPO / "tests/bench/playbooks/ping.yml")
FEW, MANY, FORKS, ROUNDS = 20, 400, 10, 3
LIMIT = 1.20

INSIDE = "HEADROOM_BENCH_INSIDE"
START = hosts.PRIVATE + 'exec "$@"\n'

PAGE = """\
<!--
SPDX-License-Identifier: GPL-3.0-or-later
Copyright: headroom.netfilter maintainers
-->

# Large fleets

Written by `make bench`, and only by it: run that again rather than edit this page.

A host more that has nothing to change costs `tune` {ratio:.2f} times what it costs a play that only pings: {verdict} {limit:.2f}.
That is (T({many}) - T({few})) / {more} of the one over the same of the other, the median of {rounds} rounds in which all four alternate.

{table}

The hosts are one machine over local connections: what is counted is what the controller and the modules do, and no ssh. forks is
{forks}; the tables of all hosts are made and shown.

| | |
|---|---|
{setting}
"""


def main() -> int:
    arguments = parse()
    if obstacle := hosts.missing() or live.missing():
        print(obstacle, file=sys.stderr)
        return 2
    if INSIDE not in os.environ:
        with tempfile.TemporaryDirectory(prefix="fleet-", dir="/tmp") as own:
            command = [*hosts.ALONE, START, "sh", sys.executable, "-B", "-m", "tests.bench.fleet", *sys.argv[1:]]
            environment = {**os.environ, INSIDE: own, "OWN": own, "MANAGED": " ".join(hosts.MANAGED)}
            return subprocess.run(command, env=environment, cwd=REPO, check=False).returncode
    times = measure(arguments)
    found = ratio(times)
    print(f"\n{table(times)}\n\na host more: {found:.2f} times a ping's; the limit is {LIMIT:.2f}")
    if arguments.rounds >= ROUNDS:
        arguments.page.write_text(render(times))
        print(f"\nwritten: {arguments.page}")
    return 0 if found <= LIMIT else 1


Times = dict[tuple[str, int], list[float]]  # the seconds of each counted run


def measure(arguments: argparse.Namespace) -> Times:
    with live.kept(), tempfile.TemporaryDirectory(prefix="fleet-") as home:
        for count in (1, FEW, MANY):
            lines = [f"host{number:03} ansible_connection=local" for number in range(count)]
            Path(home, str(count)).write_text("\n".join(lines) + "\n")
        run(arguments, home, TUNE, 1)
        times: Times = {(play, count): [] for count in (FEW, MANY) for play in (PING, TUNE)}
        for number in range(arguments.rounds + 1):
            for (play, count), taken in times.items():
                seconds = run(arguments, home, play, count)
                print(
                    f"{f'round {number}' if number else 'warm-up'}  {name(play):<5} {count:4}{seconds:8.2f} s",
                    flush=True,
                )
                if number:
                    taken.append(seconds)
        return times


def run(arguments: argparse.Namespace, home: str, play: str, count: int) -> float:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    own = {
        "ANSIBLE_COLLECTIONS_PATH": str(arguments.collections),
        "ANSIBLE_FORKS": str(FORKS),
        "ANSIBLE_HOME": f"{home}/ansible",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable,
        "LC_ALL": "C.UTF-8",
    }
    started = time.monotonic()
    done = subprocess.run(
        [arguments.ansible_playbook, "-i", f"{home}/{count}", play],
        env=kept | own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    taken = time.monotonic() - started
    if done.returncode or (count > 1 and "changed=0" not in done.stdout):
        sys.exit(f"{name(play)} over {count} hosts did not do its work:\n{done.stdout[-2000:]}")
    return taken


def name(play: str) -> str:
    return "ping" if play == PING else "tune"


def ratio(times: Times) -> float:
    """The median of the rounds' own ratios."""
    more = {
        play: [many - few for few, many in zip(times[play, FEW], times[play, MANY], strict=True)]
        for play in (PING, TUNE)
    }
    return median(tune / ping for ping, tune in zip(more[PING], more[TUNE], strict=True))


def table(times: Times) -> str:
    lines = ["| play | hosts | median | min .. max |", "|---|---:|---:|---:|"]
    for (play, count), taken in times.items():
        lines.append(f"| {name(play)} | {count} | {median(taken):.2f} s | {min(taken):.2f} .. {max(taken):.2f} |")
    return "\n".join(lines)


def render(times: Times) -> str:
    found = ratio(times)
    return PAGE.format(
        ratio=found,
        verdict="within its limit of" if found <= LIMIT else "beyond its limit of",
        limit=LIMIT,
        few=FEW,
        many=MANY,
        more=MANY - FEW,
        rounds=len(times[PING, FEW]),
        forks=FORKS,
        table=table(times),
        setting="\n".join(f"| {key} | {value} |" for key, value in page.machine().items()),
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--rounds", type=int, default=ROUNDS, help=f"counted rounds (default {ROUNDS}; fewer write no page)")
    option("--collections", type=Path, metavar="PATH", help="holds ansible_collections/headroom/netfilter")
    option("--ansible-playbook", metavar="PATH", help="the program that runs the plays")
    option("--page", type=Path, metavar="PATH", help="where to write the page")
    parser.set_defaults(
        collections=REPO / ".cache/collections",
        ansible_playbook=str(Path(sys.executable).with_name("ansible-playbook")),
        page=REPO / "docs/large-fleets.md",
    )
    arguments = parser.parse_args()
    if not shutil.which(arguments.ansible_playbook):
        parser.error(
            f"{arguments.ansible_playbook} is not a program: name one with --ansible-playbook, or run make bench"
        )
    return arguments


if __name__ == "__main__":
    sys.exit(main())
