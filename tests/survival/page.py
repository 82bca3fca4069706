# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What was measured, as docs/survival.md and as the table in README: both follow from measured.json alone.

python -m tests.survival.page [--write]     names those that do not, or writes them
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from tests import peers
from tests.survival.events import EVENTS

REPO = Path(__file__).resolve().parent.parent.parent
MEASURED = REPO / "tests/survival/measured.json"
RELEASES = ("bullseye", "bookworm", "trixie")

LIMIT, BUCKETS, EXPECTATIONS = "nf_conntrack_max", "nf_conntrack_buckets", "nf_conntrack_expect_max"
BEGIN, END = "<!-- begin: written by make survival -->\n", "<!-- end: written by make survival -->\n"

PAGE = """\
<!--
SPDX-License-Identifier: GPL-3.0-or-later
Copyright: headroom.netfilter maintainers
-->

# What survives what

Written by `make survival`, and only by it: run that again rather than edit this page.

Each recipe is applied to a pristine host whose firewall runs. Then one thing happens to it, and every value is read
again when udev has settled: the limit, the buckets, the limit of expectations and each timeout. *Kept* means that none
differs from what it was. Between, a poller reads the limit, and waits ten milliseconds after each reading: *dipped to* is the lowest seen,
where that is less than the recipe's.

{summary}

## The recipes

| name | what it does |
|---|---|
{recipes}

## The hosts

| release | kernel | firewalld |
|---|---|---|
{hosts}

## Release by release

*Reloaded*: the module was unloaded and loaded by the event.

{details}"""


class Cell(NamedTuple):
    """One event on one host with one recipe; values by the names of their files below /proc/sys/net/netfilter."""

    release: str
    recipe: str
    event: int
    reloaded: bool
    before: dict[str, int]
    after: dict[str, int]
    lowest: int | None
    """The lowest limit that the poller saw (entries)."""

    @property
    def lost(self) -> list[str]:
        return sorted(key for key, value in self.before.items() if self.after.get(key) != value)

    @property
    def dipped(self) -> bool:
        return self.lowest is not None and self.lowest < self.before[LIMIT]

    @property
    def kept(self) -> bool:
        return not self.lost and not self.dipped


class Names(NamedTuple):
    """What rows and columns are called, in their order."""

    events: dict[int, str]
    recipes: dict[str, tuple[str, str]]
    """Heading and sentence."""


NAMES = Names(
    {event.number: event.title for event in EVENTS},
    {
        "role": ("this role", "`headroom.netfilter.conntrack` without any variable, but told to leave the firewall's own "
                 "files alone where the event is about a firewall that unloads the module"),
        "sysctl_conf": ("sysctl.conf", "the limit and a timeout in `/etc/sysctl.conf`, and `sysctl -p`"),
        "modprobe_d": ("modprobe.d", "`options nf_conntrack hashsize=` in `/etc/modprobe.d`, the live values once by hand"),
        "modules": ("modules", f"`community.general.modprobe` with `params` and `persistent`, `ansible.posix.sysctl` "
                    f"for four keys; both of {peers.SOURCE}"),
    },
)  # fmt: skip


def verdict(cell: Cell) -> str:
    """What became of the values, in a few words."""
    if not cell.after:
        said = "**lost**: the module is not loaded"
    elif cell.lost:
        timeouts = [key for key in cell.lost if "timeout" in key]
        words = [
            f"{word} {cell.before[key]} -> {cell.after.get(key, 'none')}"
            for key, word in ((LIMIT, "limit"), (BUCKETS, "buckets"), (EXPECTATIONS, "expectations"))
            if key in cell.lost
        ]
        if timeouts:
            words.append(f"{len(timeouts)} timeout{'s' if len(timeouts) > 1 else ''}")
        said = f"**lost**: {', '.join(words)}"
    else:
        said = "kept"
    if cell.dipped and cell.lowest != cell.after.get(LIMIT):
        said += f"; dipped to {cell.lowest}"
    return said + (" (reloaded)" if cell.reloaded else "")


def summary(cells: Iterable[Cell], names: Names) -> str:
    """Rows events, columns the recipes that have been measured: kept everywhere, or where not."""
    found = list(cells)

    def word(event: int, recipe: str) -> str:
        here = [cell for cell in found if (cell.event, cell.recipe) == (event, recipe)]
        lost = [cell.release for cell in here if not cell.kept]
        missing = [release for release in RELEASES if release not in [cell.release for cell in here]]
        said = []
        if lost:
            said.append("**lost**" if len(lost) == len(RELEASES) else f"**lost** on {', '.join(lost)}")
        if missing:
            said.append("not measured" if not here else f"not measured on {', '.join(missing)}")
        return "; ".join(said) or "kept"

    return _table(names, _measured(found, names), word)


def _measured(cells: list[Cell], names: Names) -> list[str]:
    return [recipe for recipe in names.recipes if any(cell.recipe == recipe for cell in cells)]


def details(cells: Iterable[Cell], names: Names) -> str:
    found = {(cell.release, cell.event, cell.recipe): cell for cell in cells}
    parts = []
    for release in dict.fromkeys(key[0] for key in found):
        recipes = [recipe for recipe in names.recipes if any(key[0] == release and key[2] == recipe for key in found)]

        def word(event: int, recipe: str, release: str = release) -> str:
            cell = found.get((release, event, recipe))
            return verdict(cell) if cell else "not measured"

        parts.append(f"### {release}\n\n{_table(names, recipes, word)}\n")
    return "\n".join(parts)


def _table(names: Names, recipes: list[str], word: Callable[[int, str], str]) -> str:
    lines = [
        "| event | " + " | ".join(names.recipes[recipe][0] for recipe in recipes) + " |",
        "|---" * (len(recipes) + 1) + "|",
    ]
    for event, title in names.events.items():
        lines.append(f"| {title} | " + " | ".join(word(event, recipe) for recipe in recipes) + " |")
    return "\n".join(lines)


def render(cells: list[Cell], hosts: dict[str, dict[str, str]], names: Names) -> str:
    return PAGE.format(
        summary=summary(cells, names),
        recipes="\n".join(
            f"| {names.recipes[recipe][0]} | {names.recipes[recipe][1]} |" for recipe in _measured(cells, names)
        ),
        hosts="\n".join(f"| {name} | {host['kernel']} | {host['firewalld']} |" for name, host in hosts.items()),
        details=details(cells, names),
    )


def within(text: str, table: str) -> str:
    """A text with the table between its two marks."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}{table}\n{END}{rest.split(END)[1]}"


def merged(cells: list[Cell]) -> list[Cell]:
    """What is measured now in the place of what was measured before, in the order of the page."""
    known = {(cell.release, cell.recipe, cell.event): cell for cell in (*load()[0], *cells)}
    return [
        known[release, recipe, event]
        for release in RELEASES
        for recipe in NAMES.recipes
        for event in NAMES.events
        if (release, recipe, event) in known
    ]


def load() -> tuple[list[Cell], dict[str, dict[str, str]]]:
    if not MEASURED.exists():
        return [], {}
    measured = json.loads(MEASURED.read_text())
    return [Cell(**cell) for cell in measured["cells"]], measured["hosts"]


def write(cells: list[Cell], hosts: dict[str, dict[str, str]]) -> None:
    every = merged(cells)
    known = load()[1] | hosts
    known = {release: known[release] for release in RELEASES if release in known}
    rows = ",\n".join(json.dumps(cell._asdict()) for cell in every)
    MEASURED.write_text(f'{{"hosts": {json.dumps(known)},\n"cells": [\n{rows}\n]}}\n')
    for path, text in pages(every, known).items():
        path.write_text(text)


def pages(cells: list[Cell], hosts: dict[str, dict[str, str]]) -> dict[Path, str]:
    """Everything that is written from what was measured."""
    readme = REPO / "README.md"
    return {
        REPO / "docs/survival.md": render(cells, hosts, NAMES),
        readme: within(readme.read_text(), summary(cells, NAMES)),
    }


if __name__ == "__main__":
    for path, text in pages(*load()).items():
        if path.read_text() != text:
            print(path.relative_to(REPO))
            if sys.argv[1:] == ["--write"]:
                path.write_text(text)
