# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a host, or will be: facts -> findings, each with what was seen, why it matters and what to do. Pure.

Total over facts of any subset: what is not known is not judged. docs/findings.md has a paragraph for each id.
"""

from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .. import kernel
from ..files import MODPROBE
from ..outcome.said import BUILT_IN, CRITICAL, INFO, LOAD, ODD, SEVERITIES, WARNING
from ..plan.sizing import size
from ..profiles import RFC_FLOORS, below_floors
from ..sources import proc as table
from ..values import Facts

# Shares of the limit in use. node_exporter's mixin warns at 0.75; Netdata is critical at 0.95, from where on the
# kernel's garbage collector takes closing entries before their time (nf_conntrack_max95, gc_worker).
USAGE_WARNING = 0.75
USAGE_CRITICAL = 0.95
# Entries in an average chain, of which each entry stands in two. hashsize alone gives 16 with a full table.
CHAIN_WARNING = 2 * kernel.ENTRIES_PER_BUCKET_AT_LOAD
# At this average up to one new flow in 400 meets a chain longer than kernel.LONGEST_CHAIN (Poisson, two chains a flow).
CHAIN_CRITICAL = 32
# Share of memory that a full table may take: five times what the role gives it by default.
MEMORY_WARNING = 0.1
# Seconds. Compiled in, five days.
ESTABLISHED_DEFAULT = kernel.TIMEOUTS["tcp_established"]
# How many of a kind a sentence names before it counts the others.
NAMED = 3


class Finding(NamedTuple):
    id: str
    severity: str
    seen: str
    why: str
    remedy: str


class Risk(NamedTuple):
    """What findings of one id have in common."""

    severities: Tuple[str, ...]
    why: str
    remedy: str


_TUNE = "ansible-playbook headroom.netfilter.tune"

RISKS: Dict[str, Risk] = {
    "table-nearly-full": Risk(
        (CRITICAL, WARNING),
        "At the limit each packet that would open a new flow is dropped; the flows that are there go on.",
        "See who fills it, and make room at once: ansible-playbook headroom.netfilter.relieve. Raise the limit for "
        "good with {0}: conntrack_expected_connections or conntrack_max.".format(_TUNE),
    ),
    "dropped-table-full": Risk(
        (CRITICAL, WARNING),
        "Each message stands for at least one new flow that was refused.",
        "Raise the limit with {0}: conntrack_expected_connections (the peak, not what is in use now) or "
        "conntrack_max; in another network namespace, look at what runs there first.".format(_TUNE),
    ),
    "dropped-chain-too-long": Risk(
        (CRITICAL, WARNING),
        "A new flow whose bucket holds more than {0} to 80 entries is refused without a word in the log, "
        "however empty the table is.".format(kernel.LONGEST_CHAIN),
        "Raise the buckets with {0}: conntrack_entries_per_bucket=1 or conntrack_hashsize.".format(_TUNE),
    ),
    "dropped-clash": Risk(
        (INFO,),
        "Two packets opened the same flow at once, as a resolver does that asks for A and AAAA from one port, and the "
        "second was lost; its sender tries again. A larger table does not help.",
        "Exempt that traffic from tracking (notrack), or make the resolver ask one after the other "
        "(options single-request in /etc/resolv.conf).",
    ),
    "dropped-other": Risk(
        (WARNING, INFO),
        "The kernel counts here what a full table refused, and what helpers of protocols and clashes lost.",
        "Read the log as root (--become, gather_subset log), and compare conntrack -S from minute to minute.",
    ),
    "early-drop": Risk(
        (WARNING,),
        "The table was full: the kernel gave up flows that had seen no answer yet to make room for others.",
        "Raise the limit with {0}: conntrack_expected_connections or conntrack_max.".format(_TUNE),
    ),
    "lost-at-reload": Risk(
        (CRITICAL, WARNING),
        "A load of the module starts from what is persisted. A firewall that restarts may unload it, and so may an update.",
        "Persist the values with {0}.".format(_TUNE),
    ),
    "lost-at-boot": Risk(
        (CRITICAL, WARNING),
        "The next boot starts from what is persisted.",
        "Persist the values with {0}.".format(_TUNE),
    ),
    "overridden": Risk(
        (CRITICAL, WARNING),
        "These lines win over the role's own files, at each boot or at each load of the module.",
        "Remove them, or let {0} comment them out: conntrack_takeover=true.".format(_TUNE),
    ),
    "owners-disagree": Risk(
        (CRITICAL, WARNING),
        "Whoever writes last wins, until the other one starts again.",
        "Let one set it: change the others' own configuration to the same value or to none, or comment their lines out "
        "with {0} and conntrack_takeover=true.".format(_TUNE),
    ),
    "established-five-days": Risk(
        (WARNING, INFO),
        "A connection whose peer vanished keeps its entry for five days, so that the table fills with what is no more.",
        "Choose a profile with {0}: conntrack_timeout_profile=server. Entries that are there keep the old timeout until "
        "their next packet.".format(_TUNE),
    ),
    "below-rfc-floors": Risk(
        (WARNING,),
        "This host translates addresses for others: a flow that is forgotten too soon is cut, or its port given to another.",
        "Choose with {0}: conntrack_timeout_profile=gateway or conntrack_rfc_floors=enforce.".format(_TUNE),
    ),
    "chains-long": Risk(
        (CRITICAL, WARNING),
        "Each packet is looked up along a chain, and since kernel 5.15 a chain of more than {0} to 80 entries refuses new "
        "flows. A limit that is raised alone leaves the buckets as they are.".format(kernel.LONGEST_CHAIN),
        "Raise the buckets with {0}: conntrack_entries_per_bucket=1 or conntrack_hashsize.".format(_TUNE),
    ),
    "memory-unsafe": Risk(
        (WARNING,),
        "The kernel does not give this memory back under pressure: a flood of flows takes it from everything else.",
        "Lower the limit with {0}: conntrack_max and conntrack_shrink=true.".format(_TUNE),
    ),
    "modprobe-broken": Risk(
        (CRITICAL,),
        "With such a line the module cannot be loaded, and no firewall rule that needs it either.",
        "Mend the line; modprobe --show-depends nf_conntrack shows what the kernel is handed.",
    ),
    "persistence-broken": Risk(
        (WARNING,),
        "What is persisted there does not come into force.",
        "Mend it, or write the role's own files anew with {0}.".format(_TUNE),
    ),
    "modprobe-odd": Risk(
        (INFO,),
        "The kernel takes it, for another value than it looks to people.",
        "Write a plain decimal number.",
    ),
    "modprobe-useless": Risk(
        (INFO,),
        "The kernel has connection tracking built in and never reads modprobe.d for it.",
        "Remove it; {0} persists the buckets as net.netfilter.nf_conntrack_buckets instead.".format(_TUNE),
    ),
    "namespace-dropping": Risk(
        (CRITICAL, WARNING),
        "The limit is one for all, but each network namespace is counted on its own: the host's count says nothing of these.",
        "Raise the limit on the host with {0}: conntrack_max; look at what opens flows there with "
        "nsenter --net=/proc/PID/ns/net conntrack -L.".format(_TUNE),
    ),
    "namespace-timeouts": Risk(
        (INFO,),
        "A new network namespace starts with what is compiled into the kernel, whatever the host has.",
        "Set them where the namespace is made, as with docker run --sysctl, or the sysctls of a pod.",
    ),
    "limit-out-of-reach": Risk(
        (CRITICAL, WARNING),
        "Only the first network namespace of the host may write the limit and the buckets.",
        "Run {0} on the host that this container runs on.".format(_TUNE),
    ),
    "not-loaded": Risk(
        (INFO,),
        "The first firewall rule that needs it loads the module, with what the kernel thinks of the memory.",
        "Persist the values beforehand with {0}.".format(_TUNE),
    ),
    "writable-by-others": Risk(
        (CRITICAL,),
        "Who can write such a file decides what the kernel has after the next boot or load, and may run commands as root.",
        "Make the file and the folders above it root's, and writable by nobody else: chown root, chmod go-w.",
    ),
    "claim-ignored": Risk(
        (INFO,),
        "What is not root's doing on this host sets nothing, and moves no number of a plan.",
        "Look at who does it, and why. A genuine owner runs as root, in the host's own namespaces, from files that are root's.",
    ),
    "untold": Risk(
        (INFO,),
        "The time for what is not root's has a bound, so that nobody can hold a run up. Nothing is lowered meanwhile.",
        "Give it more with budget_seconds of headroom.netfilter.conntrack_facts, or look at what so many processes are for.",
    ),
    "unreadable": Risk(
        (INFO,),
        "What they say could not be judged.",
        "Run with --become, if that was not done: root reads all but what a container keeps from it.",
    ),
}


class _Host:
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
        self.timeouts = _known(self.part("timeouts"))
        self.nat = bool(self.kernel.get("nat"))
        self.namespaces: List[Dict[str, Any]] = facts.get("namespaces") or []
        self.owners: List[Dict[str, Any]] = facts.get("owners") or []
        self.is_contained = self.kernel.get("init_netns") is False or bool(self.kernel.get("container"))
        # A container's own files say nothing of the host that it runs on.
        self.outcome = {} if self.is_contained else self.part("outcome")
        self.files = {} if self.is_contained else self.part("files")
        self.live = self._live()

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
        return found

    def label(self, key: str) -> str:
        """The words of the tables for a key: limit, buckets, expectations, or the timeout's name."""
        short = key[len(self.names.prefix) :] if key.startswith(self.names.prefix) else key
        labels = {"hashsize": "buckets", "buckets": "buckets", "max": "limit", "expect_max": "expectations"}
        return labels.get(short) or kernel.timeout_name(short) or key

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


def findings(facts: Facts) -> List[Finding]:
    """What there is to say of a host with these facts, worst first, then by id."""
    host = _Host(facts)
    if host.state == "absent":
        return []
    found = [finding for rule in _RULES for finding in rule(host)]
    return sorted(found, key=lambda finding: (SEVERITIES.index(finding.severity), finding.id))


def _finding(name: str, severity: str, seen: str) -> Finding:
    return Finding(name, severity, seen, RISKS[name].why, RISKS[name].remedy)


# The table as it is.


def _usage(host: _Host) -> Iterator[Finding]:
    severity = _usage_severity(host.usage)
    if not severity:
        return
    seen = "{0} of {1} entries in use, {2:.1f} percent".format(host.count, host.max, 100 * (host.usage or 0))
    yield _finding("table-nearly-full", severity, seen)
    writable = (host.kernel.get("writable") or {}).get("max")
    if host.is_contained and not writable:
        where = host.kernel.get("container") or "another network namespace than the first"
        yield _finding("limit-out-of-reach", severity, "{0}, and this is {1}".format(seen, where))


def _usage_severity(usage: Optional[float]) -> Optional[str]:
    if usage is None or usage < USAGE_WARNING:
        return None
    return CRITICAL if usage >= USAGE_CRITICAL else WARNING


def _drops(host: _Host) -> Iterator[Finding]:
    counters, log = host.part("counters"), host.part("log")
    drop, early, too_long = (counters.get(name) or 0 for name in ("drop", "early_drop", "chain_too_long"))
    clashes = table.clashes(counters)
    messages = log.get("table_full") or 0
    if messages:
        full = host.usage is None or host.usage >= USAGE_WARNING
        yield _finding("dropped-table-full", CRITICAL if full else WARNING, _messages(host, messages, drop))
    if too_long:
        seen = "{0} flows refused since boot, the average chain is {1} now".format(too_long, _said(host.chain))
        severity = CRITICAL if (host.chain or 0) >= CHAIN_CRITICAL else WARNING
        yield _finding("dropped-chain-too-long", severity, seen)
    if clashes:
        yield _finding("dropped-clash", INFO, "{0} flows could not be inserted since boot".format(clashes))
    if drop > clashes and not messages:
        seen = "{0} packets counted as dropped since boot, {1} of them by clashes at most".format(drop, clashes)
        if log.get("source"):
            yield _finding(
                "dropped-other", INFO, seen + "; no message of a full table in {0}".format(_list(log["source"]))
            )
        else:
            yield _finding("dropped-other", WARNING, seen + "; the log was not read")
    if early:
        yield _finding("early-drop", WARNING, "{0} flows given up early since boot".format(early))


def _messages(host: _Host, messages: int, drop: int) -> str:
    log = host.part("log")
    seen = "{0} in the log".format(_count(messages, "message of a full table", "messages of a full table"))
    if log.get("suppressed"):
        seen += " and {0} held back".format(log["suppressed"])
    if log.get("first_seen") and log.get("last_seen"):
        seen += ", from {first_seen} to {last_seen}".format(**log)
    names = {space.get("inode"): space.get("name") for space in host.namespaces}
    inodes = [
        "{0} ({1})".format(inode, names[inode]) if names.get(inode) else str(inode) for inode in log.get("netns") or []
    ]
    if inodes:
        seen += ", of network namespace " + _list(inodes)
    return seen + ("; {0} packets counted as dropped since boot".format(drop) if drop else "")


def _chains(host: _Host) -> Iterator[Finding]:
    if not host.buckets or not host.is_live:
        return
    now, full = host.chain or 0, 2 * (host.max or 0) / host.buckets
    if now <= CHAIN_WARNING and full <= CHAIN_WARNING:
        return
    seen = "{0} buckets for a limit of {1}: chains are {2:.1f} long on average, and {3:.1f} with a full table".format(
        host.buckets, _said(host.max), now, full
    )
    yield _finding("chains-long", CRITICAL if now >= CHAIN_CRITICAL else WARNING, seen)


def _memory(host: _Host) -> Iterator[Finding]:
    total, full = host.part("memory").get("total_bytes"), host.table.get("full_bytes")
    if total and full and host.is_live and full > MEMORY_WARNING * total:
        yield _finding(
            "memory-unsafe",
            WARNING,
            "a full table of {0} entries takes {1}, {2:.1f} percent of {3}".format(
                _said(host.max), size(full), 100.0 * full / total, size(total)
            ),
        )


# The timeouts.


def _timeouts(host: _Host) -> Iterator[Finding]:
    established = host.timeouts.get("tcp_established")
    if established is not None and established >= ESTABLISHED_DEFAULT:
        severity = WARNING if _usage_severity(host.usage) else INFO
        yield _finding("established-five-days", severity, "tcp_established {0} s".format(established))
    low = below_floors(host.timeouts) if host.nat else []
    if low:
        seen = ("{0} {1} s (at least {2}, {3})".format(name, host.timeouts[name], *RFC_FLOORS[name]) for name in low)
        yield _finding("below-rfc-floors", WARNING, ", ".join(seen))


# What will be.


def _lost(host: _Host) -> Iterator[Finding]:
    if host.state == "loaded":
        yield from _lost_at(host, "reload", "".join("; " + text for text in _unloaders(host)))
    if host.is_live:
        yield from _lost_at(host, "boot", "")


def _lost_at(host: _Host, event: str, note: str) -> Iterator[Finding]:
    outcome = host.outcome.get(event) or {}
    changes: Dict[str, str] = {}
    is_critical = False
    for key in sorted(outcome, key=lambda key: (_rank(host.label(key)), key)):
        now, then = host.live.get(key), (outcome[key] or {}).get("value")
        if now is None or then is None or not _is_worse(host, key, now, host.settled(key, then)):
            continue
        is_critical = is_critical or host.is_below_flows(key, then)
        source = outcome[key].get("source")
        changes.setdefault(
            host.label(key),
            "{0} {1} -> {2}".format(host.label(key), now, then) + (" ({0})".format(source) if source else ""),
        )
    if changes:
        seen = _list(list(changes.values()), 2 * NAMED) + note
        if is_critical:
            seen += "; {0} flows are in use".format(host.count)
        yield _finding("lost-at-" + event, CRITICAL if is_critical else WARNING, seen)


def _rank(label: str) -> int:
    """Limit, buckets, expectations, then the timeouts, that of established connections first."""
    first = ("limit", "buckets", "expectations", "tcp_established")
    return first.index(label) if label in first else len(first)


def _is_worse(host: _Host, key: str, now: int, then: int) -> bool:
    """Fewer entries or buckets; a longer timeout, or one that falls below its floor where addresses are translated."""
    label = host.label(key)
    if label == "limit" and not (now and then):
        # A limit of 0 is none.
        return then > now
    if label in ("limit", "buckets", "expectations"):
        return then < now
    floor = RFC_FLOORS[label].seconds if host.nat and label in RFC_FLOORS else 0
    return then > now or then < floor <= now


def _unloaders(host: _Host) -> List[str]:
    """The firewalls here whose restart unloads the module."""
    services = host.part("services")
    firewalld, iptables = services.get("firewalld") or {}, services.get("iptables") or {}
    found = []
    cleans, version = firewalld.get("cleanup_modules_on_exit"), firewalld.get("version") or ""
    if firewalld.get("active") and (version.startswith("0.") or (cleans or "no").lower() not in ("no", "false")):
        found.append("firewalld {0} unloads the module at each restart".format(version).replace("  ", " "))
    if iptables.get("active") and (iptables.get("modules_unload") or "no").lower() != "no":
        found.append("iptables unloads the module at each restart")
    return found


def _others(host: _Host) -> Iterator[Finding]:
    lines = host.outcome.get("overriding") or []
    if lines:
        seen = ["{0} ({1})".format(_place(line), (line.get("text") or _pair(line)).strip()) for line in lines]
        is_critical = any(host.is_below_flows(line.get("key") or "", line.get("value")) for line in lines)
        yield _finding("overridden", CRITICAL if is_critical else WARNING, _list(seen))
    fights, is_critical = _fights(host)
    if fights:
        yield _finding("owners-disagree", CRITICAL if is_critical else WARNING, _list(fights))


def _fights(host: _Host) -> Tuple[List[str], bool]:
    """A phrase for each key that owners set to several values, or to another than what is in force; and whether one
    of these would refuse flows in use."""
    wanted: Dict[str, List[Tuple[int, str]]] = {}
    for owner in host.owners:
        for key, value in (owner.get("keys") or {}).items():
            if value is not None:
                said = "{0} by {1} ({2})".format(value, owner.get("name") or "another", _place(owner))
                wanted.setdefault(key, []).append((host.settled(key, value), said))
    fights, is_critical = [], False
    for key in sorted(wanted, key=lambda key: (_rank(host.label(key)), key)):
        now = host.live.get(key)
        values = {value for value, _said in wanted[key]} | ({now} if now is not None else set())
        if len(values) > 1:
            phrases = [said for _value, said in wanted[key]] + (["{0} in force".format(now)] if now is not None else [])
            fights.append("{0}: {1}".format(host.label(key), ", ".join(phrases)))
            is_critical = is_critical or any(host.is_below_flows(key, value) for value, _said in wanted[key])
    return fights, is_critical


def _place(found: Dict[str, Any]) -> str:
    """Where it stands: path:line, or what else was found."""
    path, line = found.get("path"), found.get("line")
    if not path:
        return str(found.get("evidence") or "place not known")
    return path if line is None else "{0}:{1}".format(path, line)


def _pair(line: Dict[str, Any]) -> str:
    return "{0} = {1}".format(_said(line.get("key")), _said(line.get("value")))


# Problems by their kind; all others keep what is persisted from coming into force.
_OF_KIND = {LOAD: "modprobe-broken", ODD: "modprobe-odd", BUILT_IN: "modprobe-useless"}


def _persistence(host: _Host) -> Iterator[Finding]:
    seen: Dict[str, List[str]] = {}
    worst: Dict[str, str] = {}
    for problem in host.outcome.get("problems") or []:
        name = _OF_KIND.get(problem.get("kind"), "persistence-broken")
        severities = RISKS[name].severities
        severity = problem.get("severity") if problem.get("severity") in severities else severities[0]
        worst[name] = min(worst.get(name, INFO), severity, key=SEVERITIES.index)
        seen.setdefault(name, []).append("{0}: {1}".format(_place(problem), _said(problem.get("said"))))
    if host.state == "builtin" and MODPROBE in host.files:
        seen.setdefault("modprobe-useless", []).append("{0} is there".format(MODPROBE))
    for name, texts in seen.items():
        yield _finding(name, worst.get(name, INFO), _list(texts))
    if host.state == "loadable":
        yield from _not_loaded(host)


def _not_loaded(host: _Host) -> Iterator[Finding]:
    outcome = host.outcome.get("reload") or {}
    hashsize = outcome.get("hashsize") or {}
    if not hashsize and "files" not in host.facts:
        return
    is_persisted = hashsize["source"] != "kernel default" if hashsize.get("source") else MODPROBE in host.files
    if is_persisted:
        return
    seen = "the module is not loaded, and nothing says with how many buckets it is to be"
    if hashsize.get("value") is not None:
        limit = (outcome.get(host.names.prefix + "max") or {}).get("value")
        seen += "; it will have {0}, and a limit of {1}".format(hashsize["value"], _said(limit))
    yield _finding("not-loaded", INFO, seen)


# The other network namespaces.


def _namespaces(host: _Host) -> Iterator[Finding]:
    others = [space for space in host.namespaces if not space.get("own")]
    dropping = [
        space for space in others if space.get("drop") or space.get("early_drop") or _usage_severity(space.get("usage"))
    ]
    if dropping:
        is_critical = any(_usage_severity(space.get("usage")) == CRITICAL for space in dropping)
        seen = _list([_space(space) for space in dropping])
        if host.count is not None and host.max:
            seen += "; the host itself has {0} of {1}".format(host.count, host.max)
        yield _finding("namespace-dropping", CRITICAL if is_critical else WARNING, seen)
    differing = [text for text in (_differing(host, space) for space in others) if text]
    if differing:
        yield _finding("namespace-timeouts", INFO, _list(differing))


def _space(space: Dict[str, Any]) -> str:
    seen = "{0}: {1} of {2} entries".format(_name(space), _said(space.get("count")), _said(space.get("max")))
    for name, word in (("drop", "dropped"), ("early_drop", "given up early")):
        if space.get(name):
            seen += ", {0} {1}".format(space[name], word)
    return seen


def _differing(host: _Host, space: Dict[str, Any]) -> str:
    """The first timeout of a namespace that is not the host's, and how many more there are; nothing if none is."""
    theirs = _known(space.get("timeouts") or {})
    names = [name for name in sorted(theirs, key=lambda name: (_rank(name), name)) if name in host.timeouts]
    names = [name for name in names if theirs[name] != host.timeouts[name]]
    if not names:
        return ""
    first = "{0}: {1} {2} s, {3} on the host".format(_name(space), names[0], theirs[names[0]], host.timeouts[names[0]])
    return first + (" (and {0} more)".format(len(names) - 1) if names[1:] else "")


def _name(space: Dict[str, Any]) -> str:
    inode = space.get("inode")
    return space.get("name") or ("one without a name" if inode is None else "net:[{0}]".format(inode))


# Whose doing it is.


def _provenance(host: _Host) -> Iterator[Finding]:
    exposed = ["{0} ({1})".format(one["path"], one["why"]) for one in host.facts.get("exposed") or ()]
    if exposed:
        yield _finding("writable-by-others", CRITICAL, _list(exposed))
    claims = [
        "{0}, of {1}: {2}".format(one["what"], one["whose"], one["why"]) for one in host.facts.get("claims") or ()
    ]
    if claims:
        yield _finding("claim-ignored", INFO, _list(claims))
    untold = host.facts.get("untold") or []
    if untold:
        yield _finding("untold", INFO, _list(untold))


# What could not be judged.


def _unreadable(host: _Host) -> Iterator[Finding]:
    paths = host.facts.get("unreadable") or []
    if not paths:
        return
    seen = _count(len(paths), "path is", "paths are") + " there and could not be read: " + _list(list(paths))
    unknown = []
    if host.is_live and host.table and host.buckets is None:
        unknown.append("buckets, chains and memory")
    if "log" in host.facts and not host.part("log").get("source"):
        unknown.append("messages of a full table")
    yield _finding("unreadable", INFO, seen + ("; not known: " + ", ".join(unknown) if unknown else ""))


_RULES: Tuple[Callable[[_Host], Iterable[Finding]], ...] = (
    _usage,
    _drops,
    _chains,
    _memory,
    _timeouts,
    _lost,
    _others,
    _persistence,
    _namespaces,
    _provenance,
    _unreadable,
)


def _known(numbers: Dict[str, Optional[int]]) -> Dict[str, int]:
    return {name: number for name, number in numbers.items() if number is not None}


def _said(value: Any) -> str:
    return "not known" if value is None else str(value)


def _count(number: int, one: str, several: str) -> str:
    return "{0} {1}".format(number, one if number == 1 else several)


def _list(texts: Sequence[str], most: int = NAMED) -> str:
    """The first of them, and how many more there are."""
    separator = "; " if any(", " in text for text in texts) else ", "
    more = len(texts) - most
    return separator.join(texts[:most]) + ("{0}and {1} more".format(separator, more) if more > 0 else "")
