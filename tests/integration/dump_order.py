# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Is the order in which the kernel tells entries one of chance, however regularly they were made?

usage: PYTHONPATH=/above/ansible_collections unshare --net python dump_order.py

Needs root and room for 60,000 entries. Prints each figure beside its bounds; with one beyond them it fails.
"""

from __future__ import annotations

import math
import operator
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import entries

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.examine import examine, read_options
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.netlink import Layout
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.reading import read as read_table
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

COUNT, PER_SOURCE, SAMPLE, PARTS = 60000, 1000, 20000, 20
# A normal distribution is beyond it in one of 100 million cases, on both sides together: with some 20 figures, a table is
# accused wrongly once in five million.
DEVIATIONS = 5.73


class Figure(NamedTuple):
    name: str
    value: float
    low: float
    high: float

    @property
    def good(self) -> bool:
        return self.low <= self.value <= self.high


def make() -> None:
    """Consecutive ports; the next source after each thousand."""
    target = socket.inet_aton("10.255.0.2")
    refused = entries.make(
        entries.Flow(entries.UDP, bytes([10, 0, 0, number // PER_SOURCE]), target, 1024 + number % PER_SOURCE, 53)
        for number in range(COUNT)
    )
    if refused:
        raise SystemExit(f"the kernel refuses entries: {refused}")


def told() -> list[int]:
    """The entries, by when they were made, in the order of a dump."""
    found: list[int] = []

    def take(layout: Layout, block: bytes) -> None:
        reader, names = layout.reader({"source": None, "source_port": None})
        for record in reader.iter_unpack(block):
            values = dict(zip(names, record))
            found.append(values["source"][3] * PER_SOURCE + values["source_port"] - 1024)

    if read_table(Host(), kernel.FLAVOURS["nf_conntrack"], None, take).source != "ctnetlink":
        raise SystemExit("no ctnetlink")
    return found


def figures(order: Sequence[int]) -> Iterator[Figure]:
    """How an order of so many consecutive numbers differs from one of chance."""
    count = len(order)
    classes = {
        "when they were made": [number * PARTS // count for number in order],
        "source": [number // PER_SOURCE for number in order],
        "port": [number % PER_SOURCE * PARTS // PER_SOURCE for number in order],
        "last digits of the port": [number % 16 for number in order],
    }
    for name, kinds in classes.items():
        sizes = Counter(kinds)
        met = Counter((place * PARTS // count, kind) for place, kind in enumerate(kinds))
        off = sum(
            (met[part, kind] - size / PARTS) ** 2 / (size / PARTS)
            for kind, size in sizes.items()
            for part in range(PARTS)
        )
        yield _chi_square(f"place against {name}", off * (count - 1) / count, (PARTS - 1) * (len(sizes) - 1))
    sources = classes["source"]
    sampled = Counter(sources[:SAMPLE])
    expected = SAMPLE * PER_SOURCE / count
    off = sum((sampled[source] - expected) ** 2 for source in set(sources)) / expected
    yield _chi_square(f"sources of the first {SAMPLE}", off / (1 - SAMPLE / count), count // PER_SOURCE - 1)
    # As many, on the average, whatever comes before: nearly a Poisson distribution, whose tail is somewhat longer.
    mean = PER_SOURCE - 1
    off = 1.1 * DEVIATIONS * mean**0.5
    yield Figure("neighbours of one source", sum(map(operator.eq, sources, sources[1:])), mean - off, mean + off)


def _chi_square(name: str, value: float, freedom: int) -> Figure:
    """Bounds by the approximation of Wilson and Hilferty."""
    part = 2 / (9 * freedom)
    low, high = (freedom * (1 - part + side * DEVIATIONS * math.sqrt(part)) ** 3 for side in (-1, 1))
    return Figure(name, value, low, high)


def beyond_margins() -> Figure:
    """How many of the sources, all of which have the same share, a sample puts farther off than its margin."""
    options = {
        "sample": SAMPLE,
        "group_by": ["source"],
        "top": 10000,
        "prefix_lengths": {},
        "anonymise": False,
        "timeout_profile": "kernel",
        "timeouts": {},
    }
    found = examine(Host(), read_options(options), None)
    sources, share = COUNT // PER_SOURCE, PER_SOURCE / COUNT
    groups = found["groupings"][0]["top"]
    if (found["examined"], found["exact"], found["total"]) != (SAMPLE, False, COUNT):
        raise SystemExit(f"no sample of {SAMPLE}: {found}")
    beyond = sources - sum(abs(group["share"] - share) <= group["margin"] for group in groups)
    # One in 5 of 100 cases at most; with each by itself that rare, five come once in hundreds of millions.
    return Figure("sources beyond their margin", beyond, 0, 4)


if __name__ == "__main__":
    make()
    found = [*figures(told()), beyond_margins()]
    for figure in found:
        print(f"{figure.name}: {figure.value:.0f}, expected {figure.low:.0f} to {figure.high:.0f}")
    sys.exit(not all(figure.good for figure in found))
