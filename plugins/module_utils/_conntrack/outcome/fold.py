# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What will be: each value after the next boot and after the next load of the module, and the line that decides it."""

import posixpath
from typing import TYPE_CHECKING, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

from .. import kernel
from ..files import FIREWALLD, IPTABLES, MANAGED, MODPROBE, SYSCTL
from ..host.door import Host
from ..owners.owner import Owner
from ..sources import sysctl
from ..values import Facts

if TYPE_CHECKING:
    from .loading import Loading, Sysctl, UdevRule

HASHSIZE = "hashsize"
DEFAULT = "kernel default"

# The first release whose buckets can be written as a sysctl, and the first that takes sysctl.* from its command line.
_BUCKETS_WRITABLE = (4, 8)
_COMMAND_LINE_READ = (5, 8)
# Calls of sysctl at a load, each file that one names for itself. Of more it is not told what they leave.
_MOST_CALLED = 32


class Value(NamedTuple):
    value: Optional[int]  # None where it cannot be told, or there will be none
    source: str


Values = Dict[str, Value]


class Overriding(NamedTuple):
    """A line of somebody else's that is applied after the role's own, and wins."""

    path: str
    line: int
    text: str
    key: str
    value: Optional[int]  # None: the kernel refuses it, and with it the role's own of the same key
    owner: str


class Exposed(NamedTuple):
    """A file that is applied at a boot or a load though others than root may write it."""

    path: str
    why: str


class Outcome(NamedTuple):
    boot: Values
    reload: Values  # empty where the kernel has conntrack built in: it is never loaded again
    overriding: List[Overriding]
    problems: List[str]
    exposed: List[str]  # keys whose value after either event is from a file that others than root may write


def outcome(host: Host, facts: Facts, owned: Sequence[Owner]) -> Tuple[Outcome, List[Exposed]]:
    """``facts`` are those of this host that are always gathered, with table, timeouts and services."""
    if facts["state"] == "absent":
        return Outcome({}, {}, [], [], []), []
    resolver = _Resolver(host, facts)
    return resolver.outcome(owned), resolver.exposed(owned)


class _Resolver:
    def __init__(self, host: Host, facts: Facts) -> None:
        self.host = host
        self.facts = facts
        self.table: Dict[str, Optional[int]] = facts.get("table") or {}
        self.names = kernel.FLAVOURS[facts["flavour"]]
        self.is_builtin = facts["state"] == "builtin"
        self.version = kernel.version(facts["kernel"]["release"])
        # Without systemd it is procps that applies sysctl.d.
        self.procps = facts["services"]["systemd_sysctl"] is None
        self._writers: Dict[str, Optional[str]] = {}
        self._nobodys: Set[str] = set()  # sources of values, of files that others than root may write
        self.settings = sysctl.assignments(host, self.procps)
        self.keys = self._keys()
        # None where conntrack is built in and nothing is said of its parameters.
        self.loaded: Optional[Loading] = None
        if not self.is_builtin or is_spoken_of(host, self.names.module):
            from . import loading

            self.loaded = loading.loading(host, self.names.module, self.is_builtin)

    def outcome(self, owned: Sequence[Owner]) -> Outcome:
        problems = list(self.loaded.problems) if self.loaded else []
        later: Values = {}
        if self.is_builtin:
            boot = self._at_boot()
        else:
            from . import loading

            rules = loading.udev_rules(self.host, self.names.module)
            problems += [rule.problem for rule in rules if rule.problem]
            later = self._after_load(rules)
            is_early = loading.loads_at_boot(self.host, self.names.module) is not None
            boot = self._at_boot() if is_early else later
        boot = self._by_owners(boot, owned)
        values = [*boot.items(), *later.items()]
        nobodys = {key for key, value in values if value.source in self._nobodys}
        return Outcome(boot, later, self._overriding(owned), problems, sorted(nobodys))

    def exposed(self, owned: Sequence[Owner]) -> List[Exposed]:
        """Where the role writes itself, and of all files that say something of these keys, whichever of them wins."""
        known = set(self.keys + self._aliases() + [self.names.prefix + "buckets"])
        first = [posixpath.dirname(path) for path in MANAGED] + [FIREWALLD, IPTABLES]
        paths = {owner.path for owner in owned if owner.path}
        for line in self.settings:
            if line.key in known or (line.glob and sysctl.effective([line], known)):
                paths.add(line.path)
        for path in [*first, *paths]:
            self._others(path)
        folders = () if self.is_builtin else ("modprobe.d", "modules-load.d", "udev/rules.d")
        for path in (
            home + "/" + name for folder in folders for home in sysctl.folders(folder) for name in self.host.list(home)
        ):
            # Asked first, since hardly any is: those need not be read once more.
            if self.host.exposed(path) and self.names.module in (self.host.read(path) or "").replace("-", "_"):
                self._others(path)
        ranked = sorted(self._writers, key=lambda path: (path not in first, path))
        return [Exposed(path, self._writers[path] or "") for path in ranked if self._writers[path]]

    def _others(self, path: str) -> Optional[str]:
        """Who else than root may write a file, as Host.exposed has it."""
        if path not in self._writers:
            self._writers[path] = self.host.exposed(path)
        return self._writers[path]

    def _keys(self) -> List[str]:
        """Those that the kernel has; of a module that is not loaded, those it will have and the timeouts that files name."""
        prefix = self.names.prefix
        keys = [prefix + "max"] + [prefix + "expect_max"] * self.names.bounds_expectations
        if self.facts["state"] == "loadable":
            named = {line.key for line in self.settings if line.key.startswith(prefix)}
            return keys + sorted(key for key in named if kernel.timeout_name(key[len(prefix) :]) in kernel.TIMEOUTS)
        return keys + [prefix + kernel.timeout_key(name) for name in sorted(self.facts["timeouts"])]

    def _at_load(self) -> Values:
        """What the kernel itself makes of the parameters that it is loaded with."""
        release, page, pointer = (self.facts["kernel"][name] for name in ("release", "page_size", "pointer_bytes"))
        memory = self.facts["memory"]["total_bytes"]
        buckets: Optional[int] = None
        limit: Optional[int] = None
        source = limit_source = DEFAULT
        if self.loaded and self.loaded.hashsize:
            source = str(self.loaded.source)
            buckets = kernel.rounded_buckets(self.loaded.hashsize, page, pointer)
            limit = kernel.ENTRIES_PER_BUCKET_AT_LOAD * buckets
            limit_source = "{0} x hashsize from {1}".format(kernel.ENTRIES_PER_BUCKET_AT_LOAD, source)
            if self._others(source.rpartition(":")[0]):
                self._nobodys |= {source, limit_source}
        elif memory and self.names.module == "nf_conntrack":
            live = (self.table.get("buckets"), self.table.get("max"))
            buckets, limit = kernel.default_table(release, memory, page, pointer, live)
        values = {HASHSIZE: Value(buckets, source)}
        for key in self.keys:
            name = kernel.timeout_name(key[len(self.names.prefix) :])
            if name:
                live_seconds = self.facts["timeouts"].get(name)
                values[key] = Value(kernel.default_timeout(name, release, live_seconds), DEFAULT)
            elif key == self.names.prefix + "expect_max":
                values[key] = Value(kernel.expect_max(buckets) if buckets else None, DEFAULT)
            else:
                values[key] = Value(limit, limit_source)
        return values

    def _after_load(self, rules: Iterable["UdevRule"]) -> Values:
        """Of a load by whoever comes first, a firewall or iptables -t nat -L."""
        unknown = self._untold()
        if unknown:
            return unknown
        install = self.loaded.install if self.loaded else None
        calls = [(install.sysctl, install.path, install.line)] if install and install.sysctl else []
        calls += [(rule.sysctl, rule.path, rule.line) for rule in rules if rule.runs]
        values = self._at_load()
        called = 0
        for call, path, line in calls:
            where = "{0}:{1}".format(path, line)
            called += len(call.files) or 1
            if called > _MOST_CALLED:
                return dict.fromkeys(values, Value(None, where + ": more settings are applied than are read"))
            values = self._called(values, call, where)
        return values

    def _at_boot(self) -> Values:
        """Of a module that is there before systemd-sysctl runs, or no module."""
        unknown = self._untold()
        if unknown and self.loaded and self.loaded.refused:
            return unknown
        # What it is loaded with may not be known; what is set afterwards is.
        values = unknown or self._at_load()
        if self.is_builtin and self.version >= _COMMAND_LINE_READ:
            values = self._applied(values, sysctl.command_line(self.host.read(sysctl.COMMAND_LINE) or ""), True)
        return self._applied(values, self.settings, self.procps)

    def _untold(self) -> Values:
        """Every key without a value, and why: where a load fails, or runs a command that may do anything. Else nothing."""
        if self.loaded and self.loaded.refused:
            why = "the load fails: " + self.loaded.refused
        elif self.loaded and self.loaded.install and not self.loaded.install.told:
            why = "install command of {0}:{1}".format(self.loaded.install.path, self.loaded.install.line)
        else:
            return {}
        return {key: Value(None, why) for key in [HASHSIZE] + self.keys}

    def _called(self, values: Values, call: "Sysctl", where: str) -> Values:
        """What a call of systemd-sysctl, or of procps' sysctl, makes of values; ``where`` it stands."""
        procps = not call.command.endswith("systemd-sysctl")
        if call.files:
            settings = [line for path in call.files for line in sysctl.parse(path, self.host.read(path) or "")]
        elif procps == self.procps:
            settings = self.settings
        else:
            settings = sysctl.assignments(self.host, procps)
        if call.pattern is not None:
            # Few hosts have one.
            from ..sources.patterns import finds

            found = {key: finds(call.pattern, key) for key in {line.key for line in settings}}
            if None in found.values():
                # What it may set is what any line reaches, each in turn.
                may = self._applied(values, settings, True, call.prefixes)
                why = "{0}: --pattern {1:.99} is not understood".format(where, call.pattern)
                return {key: value if may[key] is value else Value(None, why) for key, value in values.items()}
            settings = [line for line in settings if found[line.key]]
        return self._applied(values, settings, procps, call.prefixes)

    def _applied(
        self, values: Values, settings: Sequence[sysctl.Assignment], procps: bool, prefixes: Sequence[str] = ()
    ) -> Values:
        found = dict(values)
        buckets = self.names.prefix + "buckets"
        keys = self.keys + self._aliases() + ([buckets] if self.version >= _BUCKETS_WRITABLE else [])
        for key, line in sysctl.effective(settings, keys, prefixes, procps).items():
            value = sysctl.number(key, line.value)
            source = "{0}:{1}".format(line.file, line.line)
            if line.file == sysctl.COMMAND_LINE:
                source = kernel.COMMAND_LINE
            elif self._others(line.path):
                self._nobodys.add(source)
            if key == buckets:
                found[HASHSIZE] = Value(self._rounded(value), source)
            elif key in found:
                found[key] = Value(value, source)
        return found

    def _aliases(self) -> List[str]:
        """Other names of these keys, as far as this kernel has them."""
        is_new = self.facts["state"] == "loadable"
        return [
            alias
            for alias, key in sorted(sysctl.ALIASES.items())
            if key in self.keys and (is_new or self.host.exists(kernel.sysctl_path(alias)))
        ]

    def _rounded(self, buckets: Optional[int]) -> Optional[int]:
        page, pointer = (self.facts["kernel"][name] for name in ("page_size", "pointer_bytes"))
        return kernel.rounded_buckets(buckets, page, pointer) if buckets else None

    def _by_owners(self, values: Values, owned: Iterable[Owner]) -> Values:
        """Those who write at boot come after systemd-sysctl."""
        found = dict(values)
        for owner in owned:
            for key, value in owner.keys.items() if owner.at_boot else ():
                if key in found:
                    value = self._rounded(value) if key == HASHSIZE else value
                    source = "{0}: {1}".format(owner.name, owner.evidence)
                    found[key] = Value(value, source)
                    if owner.path and self._others(owner.path):
                        self._nobodys.add(source)
        return found

    def _overriding(self, owned: Iterable[Owner]) -> List[Overriding]:
        """Those of files that are root's alone: what others may write is nobody's word."""
        found = []
        for line in sysctl.overriding(self.settings, SYSCTL, self.keys, self._aliases(), self.procps):
            if self._others(line.path):
                continue
            # A glob wins through an alias alone, of which the limit is the only variable.
            key = self.names.prefix + "max" if line.glob else sysctl.ALIASES.get(line.key, line.key)
            value = sysctl.number(key, line.value)
            found.append(Overriding(line.file, line.line, line.text, key, value, "sysctl.d"))
        for owner in owned:
            if owner.at_boot and owner.path and owner.line and not self._others(owner.path):
                text = owner.text or ""
                found += [
                    Overriding(owner.path, owner.line, text, key, value, owner.name)
                    for key, value in owner.keys.items()
                    if value is not None
                ]
        return found + self._options()

    def _options(self) -> List[Overriding]:
        """The line of modprobe.d that has the last word on hashsize, if it stands behind the role's own."""
        hashsize, source = (self.loaded.hashsize, self.loaded.source) if self.loaded else (None, None)
        path, _colon, number = (source or "").rpartition(":")
        if not path or path.rpartition("/")[2] <= MODPROBE.rpartition("/")[2] or self._others(path):
            return []
        lines = (self.host.read(path) or "").split("\n")
        text = lines[int(number) - 1] if int(number) <= len(lines) else ""
        return [Overriding(path, int(number), text, HASHSIZE, self._rounded(hashsize), "modprobe.d")]


def is_spoken_of(host: Host, module: str) -> bool:
    """Whether modprobe.d or the kernel's command line has the name of what is built in: else they need not be understood."""
    texts = [host.read(folder + "/" + name) for folder in sysctl.folders("modprobe.d") for name in host.list(folder)]
    texts.append(host.read(sysctl.COMMAND_LINE))
    # A backslash may join two lines amid the name.
    return any("\\" in text or module in text.replace("-", "_") for text in texts if text)
