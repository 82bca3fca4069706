# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A census of a host's table: the options of the module conntrack_census_info, and what it returns."""

import os
import socket
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from .. import asked, kernel, readers
from ..host.door import Host
from ..values import integer
from .census import FIELDS, ROLE, Census, Counted, Grouping, Terms, reckoned
from .entry import lived_by
from .own import addresses
from .reading import ATTEMPTS, NOTHING, Table, TableError, flavour_in_use, read, within
from .unlisted import unlisted


class Wanted(NamedTuple):
    """What is asked for."""

    groupings: List[Grouping]
    sample: Optional[int]  # entries, None for all
    top: int
    terms: Terms
    timeouts: Dict[str, int]  # seconds


def read_options(options: Mapping[str, Any]) -> Wanted:
    """The options of the module. Raises TableError for what would not do."""
    bits = {"ipv4": (socket.AF_INET, 32), "ipv6": (socket.AF_INET6, 128)}
    lengths = dict({"ipv4": 24, "ipv6": 64}, **options["prefix_lengths"])
    try:
        for name in sorted(set(lengths) - set(bits)):
            raise readers.Wrong("prefix_lengths: {0!r} is neither ipv4 nor ipv6".format(name))
        terms = Terms(
            {bits[name][0]: asked.whole("prefix_lengths", lengths[name], 0, bits[name][1], "bits") for name in bits},
            os.urandom(16) if options["anonymise"] else None,
        )
        return Wanted(
            groupings=[_grouping(text) for text in options["group_by"]],
            sample=asked.whole("sample", options["sample"], 0, kernel.LARGEST_LIMIT, "entries") or None,
            top=asked.whole("top", options["top"], 1, 10000, "groups"),
            terms=terms,
            timeouts=lived_by(asked.timeouts(options["timeout_profile"], options["timeouts"])),
        )
    except readers.Wrong as wrong:
        raise TableError(str(wrong)) from None


def _grouping(text: str) -> Grouping:
    fields = tuple(field.strip() for field in text.split("+"))
    for field in fields:
        if field not in FIELDS:
            raise readers.Wrong(
                "group_by: {0!r} has {1!r}, which is none of {2}; join several with +".format(
                    text, field, ", ".join(FIELDS)
                )
            )
    return fields


def examine(host: Host, wanted: Wanted, namespace: Optional[str]) -> Dict[str, Any]:
    """Who fills the table of a network namespace, the own one unless another is named. Raises TableError."""
    return within(host, namespace, lambda: _examined(host, wanted))


def _examined(host: Host, wanted: Wanted) -> Dict[str, Any]:
    names = flavour_in_use(host)
    found, census, count = NOTHING, _census(wanted), 0
    if names:
        if any(ROLE in grouping for grouping in wanted.groupings):
            wanted = wanted._replace(terms=wanted.terms._replace(own=addresses(host)))
        found, census = _taken(host, names, wanted)
        count = integer(host.read(kernel.sysctl_path(names.prefix + "count"))) or 0
    total = found.examined if found.all else max(found.examined, count)
    return {
        "source": found.source,
        "total": total,
        "examined": found.examined,
        "exact": found.all and not found.interrupted,
        "groupings": [_told(counted) for counted in census.counted(found.examined, total, wanted.top)],
        "stale": _stale(census.stale(), wanted.timeouts, found.examined, total),
        "unread": {"entries": found.skipped, "attributes": found.unknown},
        "forged": found.forged,
        "unlisted": _unlisted(host, names, found),
    }


def _unlisted(host: Host, names: Optional[kernel.Flavour], found: Table) -> Dict[str, Any]:
    if names is None:
        return dict(dict.fromkeys(("entries", "dying", "unconfirmed")), listeners=[])
    whole = found.all and not found.interrupted
    return unlisted(host, names, whole, found.examined + found.skipped if whole else None)


def _taken(host: Host, names: kernel.Flavour, wanted: Wanted) -> Tuple[Table, Census]:
    forged = 0
    for _attempt in range(ATTEMPTS):
        census = _census(wanted)
        found = read(host, names, wanted.sample, census.add)
        forged += found.forged
        if not found.interrupted or found.late:
            break
    return found._replace(forged=forged), census


def _census(wanted: Wanted) -> Census:
    return Census(wanted.groupings, wanted.terms, wanted.timeouts)


def _told(counted: Counted) -> Dict[str, Any]:
    return {
        "group_by": "+".join(counted.grouping),
        "top": [
            dict(zip(counted.grouping, group.values), entries=group.entries, share=group.share, margin=group.margin)
            for group in counted.groups
        ],
        "others": counted.others,
        "missed": counted.missed,
    }


def _stale(stale: Mapping[str, int], timeouts: Mapping[str, int], examined: int, total: int) -> Dict[str, Any]:
    def told(count: int) -> Dict[str, Any]:
        return dict(zip(("entries", "share", "margin"), reckoned(count, examined, total)))

    return dict(
        told(sum(stale.values())),
        timeouts={
            name: dict(told(count), timeout=timeouts[name])
            for name, count in sorted(stale.items(), key=lambda item: -item[1])
        },
    )
