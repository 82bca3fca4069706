# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What was measured, as a table for the terminal and as the page docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

Times = dict[str, list[float]]  # the seconds of each counted run, by the play's name
Setting = dict[str, str]

BASE, NOTHING, EVERYTHING = "ping", "nothing to change", "everything to change"
WAVES, AT_ONCE = "in waves", ("-e", '{"tune_waves": ["100%"]}')
PIPELINED, PIPELINING = "pipelining set", {"ANSIBLE_PIPELINING": "True"}
BAR_PER_PING = 4  # characters
EIGHTHS = " ▏▎▍▌▋▊▉"

PAGE = """\
<!--
SPDX-License-Identifier: GPL-3.0-or-later
Copyright: headroom.netfilter maintainers
-->

# Benchmarks

Written by `make bench`, and only by it: run that again rather than edit this page.

How long a run over {hosts} hosts takes, in units of a play that only pings:

```text
{bars}
```

{against}

{table}

Limits, which `make bench` enforces:

{limits}

## Where

| | |
|---|---|
{setting}
| command | `make bench{options}` |

## What is measured

The wall clock of one `ansible-playbook` process, from its start to its end. All plays alternate within one run;
each number is the median of {rounds} rounds, after one that is not counted, and a ratio is the median of the rounds'
own ratios. Only ratios mean anything: seconds belong to the machine.

- **ping**: one `ansible.builtin.ping`, no facts gathered.
- **conntrack_facts**: one `headroom.netfilter.conntrack_facts`, no facts gathered.
- **tune**: the playbook `headroom.netfilter.tune` as it comes.
- **usual playbook**: `gather_facts`, one `file`, two `copy`, and `ansible.posix.sysctl` looped over nine keys:
  [tests/bench/playbooks/usual.yml](../tests/bench/playbooks/usual.yml).

*Nothing to change*: the same play has just converged the hosts, and has to report no change on any of them.
*Everything to change*: every host has a new `/etc` and the kernel its default values; the play has to report a
change on every host. A play that fails or reports anything else ends the bench without a page.

Tune has all hosts changed at once there (`tune_waves: ["100%"]`); *in waves* is as it comes: one host, two, and then the rest.

Without sudo, and where nobody has said otherwise, this collection has its modules sent by pipelining, as ansible-core has
others only where it is asked to. *Pipelining set* is with `ANSIBLE_PIPELINING=True`, for the ping as well.

Every run opens its SSH connections anew, as a run by hand or by timer does.

## What is not

- The network: the hosts are {hosts} sshd on the loopback of one machine, which is the controller too.
- Disks: each host has its own `/etc`, `/var/lib` and home, in memory.
- {hosts} kernels: the hosts share one. With everything to change, the first hosts change its live values and the
  later ones find them changed; the files are every host's own.
- A module, unless the table above says so: where connection tracking is one, a host reads modprobe.d and the rules of udev,
  too, and the controller compares four files rather than one. [module-hosts.md](module-hosts.md) has the figures of such hosts.
- A large fleet: [large-fleets.md](large-fleets.md) has what a host more costs.
- A full table or a firewall service: the table is nearly empty and no such service runs.
- What the playbooks achieve: the usual one neither sizes anything nor proves it.
"""


def table(times: Times) -> str:
    """Medians, spread and ratios, for the terminal and for Markdown alike."""
    rows = [("play", "median", "min .. max", "x ping"), ("---", "---:", "---:", "---:")]
    for name, ratio in ratios(times).items():
        runs = times[name]
        rows.append((name, f"{median(runs):.2f} s", f"{min(runs):.2f} .. {max(runs):.2f}", f"{ratio:.2f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        f"| {name:<{widths[0]}} | {middle:>{widths[1]}} | {spread:>{widths[2]}} | {ratio:>{widths[3]}} |"
        for name, middle, spread, ratio in rows
    )


def ratios(times: Times) -> dict[str, float]:
    """How many pings' time each takes, the ping first and then the cheapest."""
    found = {name: _ratio(runs, times[BASE]) for name, runs in times.items()}
    return dict(sorted(found.items(), key=lambda item: (item[0] != BASE, item[1])))


def _ratio(runs: list[float], others: list[float]) -> float:
    """The median of the rounds' own ratios: what else the machine did at the time weighs on both sides."""
    return median(run / other for run, other in zip(runs, others, strict=True))


def bars(times: Times) -> str:
    found = ratios(times)
    width = max(map(len, found))
    return "\n".join(f"{name:<{width}} {ratio:6.2f}  {blocks(ratio)}" for name, ratio in found.items())


def blocks(ratio: float) -> str:
    whole, eighths = divmod(round(ratio * BAR_PER_PING * 8), 8)
    return ("█" * whole + EIGHTHS[eighths]).rstrip()


def against(times: Times) -> str:
    """The usual playbook beside tune, and tune beside the ping where both are sent alike, a sentence each."""
    alike = _ratio(times[f"tune, {NOTHING}, {PIPELINED}"], times[f"{BASE}, {PIPELINED}"])
    usual = "\n".join(
        f"With {what}, the usual playbook takes {factor:.1f} times as long as tune."
        for what in (NOTHING, EVERYTHING)
        for factor in [_ratio(times[f"usual playbook, {what}"], times[f"tune, {what}"])]
    )
    return f"{usual}\nWith pipelining set for both, tune takes {alike:.2f} times as long as the ping that has it."


def machine() -> Setting:
    """The machine as the page tells it: no name, no path."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB of memory, {platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.1f}",
        # What is built in has no state.
        "connection tracking": "a module" if Path("/sys/module/nf_conntrack/initstate").exists() else "built in",
        "system": f"{platform.freedesktop_os_release().get('PRETTY_NAME', 'Linux')}, kernel {platform.release()}",
    }


def held(times: Times, limits: dict[str, float]) -> str:
    found = ratios(times)
    return "\n".join(
        f"- {name}: {found[name]:.2f} times the ping, {'within' if found[name] <= limit else 'beyond'} its {limit}"
        for name, limit in limits.items()
    )


def settings(setting: Setting) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in setting.items())


def render(times: Times, setting: Setting, limits: dict[str, float], hosts: int, options: str) -> str:
    return PAGE.format(
        hosts=hosts,
        rounds=len(times[BASE]),
        bars=bars(times),
        against=against(times),
        table=table(times),
        limits=held(times, limits),
        setting=settings(setting),
        options=options,
    )
