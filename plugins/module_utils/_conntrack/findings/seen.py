# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts that the rules ask for, by short names, and how they are put in words."""

from functools import lru_cache
from typing import Any, Dict, List, Optional, Sequence

from .. import kernel
from ..files import SYSCTL
from ..outcome.said import CRITICAL, WARNING
from ..sources import sysctl
from ..values import Facts
from .catalogue import NAMED, USAGE_CRITICAL, USAGE_WARNING


class Seen:
    """The facts that the rules ask for, by short names; None for what is not known."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.state: str = facts.get("state") or ""
        self.is_live = self.state in ("loaded", "builtin")
        self.names = kernel.FLAVOURS.get(facts.get("flavour") or "", kernel.FLAVOURS["nf_conntrack"])
        self.kernel = self.part("kernel")
        self.table = self.part("table")
        self.count: Optional[int] = self.table.get("count")
        self.max: Optional[int] = self.table.get("max")
        self.buckets: Optional[int] = self.table.get("buckets")
        self.usage: Optional[float] = self.count / self.max if self.count is not None and self.max else None
        self.chain: Optional[float] = self.table.get("chain")
        self.timeouts = known(self.part("timeouts"))
        self.switches = known(self.part("switches"))
        self.nat = bool(self.kernel.get("nat"))
        self.namespaces: List[Dict[str, Any]] = facts.get("namespaces") or []
        self.owners: List[Dict[str, Any]] = facts.get("owners") or []
        self.is_contained = self.kernel.get("init_netns") is False or bool(self.kernel.get("container"))
        # A container's own files say nothing of the host that it runs on.
        self.outcome = {} if self.is_contained else self.part("outcome")
        self.files = {} if self.is_contained else self.part("files")
        self.live = self._live()
        self.own = {} if self.is_contained else self._own()

    def part(self, name: str) -> Dict[str, Any]:
        return self.facts.get(name) or {}

    def _live(self) -> Dict[str, Optional[int]]:
        """The values in force by the keys that outcome and owners use."""
        prefix = self.names.prefix
        found = {
            "hashsize": self.buckets,
            prefix + "max": self.max,
            prefix + "buckets": self.buckets,
            prefix + "expect_max": self.table.get("expect_max"),
        }
        found.update((prefix + kernel.timeout_key(name), seconds) for name, seconds in self.timeouts.items())
        found.update((prefix + name, value) for name, value in self.switches.items())
        return found

    def _own(self) -> Dict[str, Optional[int]]:
        """What the role's own file of sysctl.d says, by key."""
        files = self.part("assignments").get("sysctl") or []
        lines = [line for file in files if file["path"] == SYSCTL for line in file["lines"]]
        release, pointer = self.kernel.get("release"), self.kernel.get("pointer_bytes")
        bounds = kernel.bounds(release, pointer, self.kernel.get("hz")) if release and pointer else kernel.Bounds()
        return {line["key"]: sysctl.number(line["key"], line["value"], bounds) for line in lines}

    def label(self, key: str) -> str:
        """The words of the tables for a key: limit, buckets, expectations, or the timeout's name."""
        return _label(self.names.prefix, key)

    def settled(self, key: str, value: int) -> int:
        """What the kernel makes of a value that is written: buckets are rounded."""
        page, pointer = self.kernel.get("page_size"), self.kernel.get("pointer_bytes")
        if self.label(key) == "buckets" and page and pointer:
            return kernel.rounded_buckets(value, page, pointer)
        return value

    def is_below_flows(self, key: str, value: Optional[int]) -> bool:
        """Whether this value would refuse flows as many as are in use now. A limit of 0 is none."""
        if not value or not self.count:
            return False
        label = self.label(key)
        return (label == "limit" and value < self.count) or (
            label == "buckets" and 2 * self.count / value > kernel.LONGEST_CHAIN
        )


# Asked for some hundred times a host, and the same of each in a fleet.
@lru_cache(maxsize=1000)
def _label(prefix: str, key: str) -> str:
    short = key[len(prefix) :] if key.startswith(prefix) else key
    labels = {"hashsize": "buckets", "buckets": "buckets", "max": "limit", "expect_max": "expectations"}
    return labels.get(short) or (short if kernel.is_switch(key) else kernel.timeout_name(short)) or key


def usage_severity(usage: Optional[float]) -> Optional[str]:
    if usage is None or usage < USAGE_WARNING:
        return None
    return CRITICAL if usage >= USAGE_CRITICAL else WARNING


def unloaders(host: Seen) -> List[str]:
    """The firewalls here whose restart unloads the module."""
    found = []
    for name in ("firewalld", "iptables"):
        service = host.part("services").get(name) or {}
        if service.get("active") and service.get("unloads"):
            found.append(
                "{0} unloads the module at each restart".format(" ".join([name, service.get("version") or ""]).strip())
            )
    return found


def rank(label: str) -> int:
    """Limit, buckets, expectations, then the timeouts, that of established connections first."""
    first = ("limit", "buckets", "expectations", "tcp_established")
    return first.index(label) if label in first else len(first)


def known(numbers: Dict[str, Optional[int]]) -> Dict[str, int]:
    return {name: number for name, number in numbers.items() if number is not None}


def said(value: Any) -> str:
    return "not known" if value is None else str(value)


def count_of(number: int, one: str, several: str) -> str:
    return "{0} {1}".format(number, one if number == 1 else several)


def listed(texts: Sequence[str], most: int = NAMED) -> str:
    """The first of them, and how many more there are."""
    separator = "; " if any(", " in text for text in texts) else ", "
    more = len(texts) - most
    return separator.join(texts[:most]) + ("{0}and {1} more".format(separator, more) if more > 0 else "")
