# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules ask of a host, by short names; and what of it somebody has chosen. Pure."""

from typing import Any, Dict, List, Optional

from .. import kernel
from ..files import SYSCTL
from ..outcome.fold import made_by_load, own
from ..outcome.said import HASHSIZE
from ..values import Facts
from .conflicts import held
from .policy import Policy


class Given:
    def __init__(self, told: Facts, policy: Policy) -> None:
        self.told = told  # as the host told them
        self.facts = facts = _of_an_image(told) if policy.target == "image" else told
        self.policy = policy
        self.is_live = facts["state"] in ("loaded", "builtin")
        table: Dict[str, Any] = facts.get("table") or {}
        self.names = kernel.FLAVOURS[facts["flavour"]]
        self.count: int = table.get("count") or 0
        # Of all network namespaces, which share the buckets.
        counts = [space.get("count") or 0 for space in facts.get("namespaces") or () if not space.get("own")]
        self.entries: int = self.count + sum(counts)
        self.max: Optional[int] = table.get("max")
        self.buckets: Optional[int] = table.get("buckets")
        self.expect_max: Optional[int] = table.get("expect_max")
        self.timeouts: Dict[str, int] = facts.get("timeouts") or {}
        self.switches: Dict[str, int] = facts.get("switches") or {}
        self.ticks: Optional[int] = facts["kernel"].get("hz")
        self.release: str = facts["kernel"]["release"]
        self.pointer: int = facts["kernel"]["pointer_bytes"]
        self.longest = kernel.longest_timeout(self.ticks)
        self.page: int = facts["kernel"]["page_size"]
        self.per_page: int = self.page // self.pointer
        self.largest = kernel.largest_buckets(self.page, self.pointer)
        # The highest limit that a load can make.
        self.most = kernel.ENTRIES_PER_BUCKET_AT_LOAD * self.largest
        # What kernels of its kind take, so that a plan is the same before the module is loaded; more only where it is seen.
        usual = kernel.entry_bytes(kernel.object_bytes(self.names, self.release, self.pointer))
        self.entry = max(table.get("entry_bytes") or 0, usual)
        self.memory: int = facts["memory"]["total_bytes"] or 0
        self.services: Dict[str, Any] = facts.get("services") or {}
        self.systemd_sysctl: Optional[str] = self.services.get("systemd_sysctl")
        # Of another init than systemd, and what keeps the role's files from being all that a boot needs.
        self.init: Dict[str, Any] = (facts.get("assignments") or {}).get("init") or {}
        self.unbooted: str = self.init.get("why", "" if self.systemd_sysctl else "there is no systemd")
        if facts["state"] == "builtin" and SYSCTL in self.init.get("planned", ()):
            self.unbooted = ""
        # Whether a boot may apply the role's sysctl.d at all.
        self.is_applied = not self.init.get("known") or SYSCTL in self.init["planned"]
        # Nothing sets again what a load of the module has taken away.
        self.is_unhooked = not self.systemd_sysctl and facts["state"] != "builtin"
        # What there was no time to read on the host.
        self.untold: List[str] = facts.get("untold") or []
        self.held = held(facts) if policy.apply else {}
        self._choose()

    def _choose(self) -> None:
        """What is in force, as far as somebody has chosen it: what a load has made is nobody's choice, and what was chosen is then
        what the role's own files say. While the module is not loaded, it is that, or what will be in force."""
        limit, expectations = self.names.prefix + "max", self.names.prefix + "expect_max"
        kept = own(self.facts) if "assignments" in self.facts and self.policy.target == "host" else {}
        self.made_by_load = self.is_live and made_by_load(self.facts)
        self.in_force: Optional[int] = self.max
        self.buckets_in_force: Optional[int] = self.buckets
        self.expect_in_force: Optional[int] = self.expect_max
        # In sentences: what there is, and of what kind the limit is.
        self.there = "in force" if self.is_live else "in force after a load"
        self.how = "persisted" if self.made_by_load else self.there
        if self.made_by_load:
            self.in_force = kept.get(limit)
        if expectations in kept and self.expect_max == kernel.expect_max(self.buckets or 0):
            self.expect_in_force = max(kept[expectations], self.expect_max)
        if not self.is_live and self.policy.target == "host":
            then = dict(_at_boot(self.facts), **kept)
            self.in_force, self.buckets_in_force = then.get(limit), then.get(HASHSIZE)
            self.expect_in_force = then.get(expectations)

    def rounded(self, buckets: int) -> int:
        return kernel.rounded_buckets(buckets, self.page, self.pointer)

    def has_timeout(self, name: str) -> bool:
        """Whether a timeout is there, or may come with a load; of an image's kernel all may."""
        if self.policy.target == "image" or name in self.timeouts:
            return True
        may_come = not self.is_live or kernel.has_families_apart(self.release)
        return may_come and kernel.has_timeout(name, self.names, self.release)

    def has_switch(self, name: str) -> bool:
        """The module has all of them, from its load on."""
        return not self.is_live or name in self.switches

    def writable(self, what: str) -> bool:
        return bool(self.facts["kernel"]["writable"][what])

    def is_tied(self, what: str) -> bool:
        """Whether the live value cannot be changed from here by anybody: a container, a namespace."""
        return self.is_live and self.facts["kernel"]["root"] and not self.writable(what)

    def why_tied(self) -> str:
        if not self.facts["kernel"]["init_netns"]:
            return "this is not the first network namespace, and the limit and the buckets belong to the host"
        return "the kernel lets nobody write it from here ({0})".format(
            self.facts["kernel"]["container"] or "/proc/sys is read-only"
        )


def _at_boot(facts: Facts) -> Dict[str, int]:
    """What will be in force, by key; what others than root may write is nobody's word."""
    outcome = facts.get("outcome") or {}
    nobodys = outcome.get("exposed") or ()
    values = {key: will["value"] for key, will in (outcome.get("boot") or {}).items() if key not in nobodys}
    return {key: value for key, value in values.items() if value}


def _of_an_image(facts: Facts) -> Facts:
    """``facts`` without what belongs to the builder of an image, which vetoes nothing: its table, memory, programs, namespaces and cloud,
    and that its kernel has conntrack built in, or none. What is left are the files, and the page and pointer that buckets are rounded by."""
    kernel = dict(
        facts["kernel"],
        init_netns=True,
        container=None,
        nat=False,
        writable=dict.fromkeys(facts["kernel"]["writable"], False),
        hz=None,
    )
    return dict(
        facts,
        state="loadable",
        flavour="nf_conntrack",
        kernel=kernel,
        memory=dict.fromkeys(facts["memory"]),
        table=dict.fromkeys(facts.get("table") or {}),
        timeouts={},
        switches={},
        cloud=[],
        owners=[owner for owner in facts.get("owners") or () if owner["path"]],
        untold=[],
    )
