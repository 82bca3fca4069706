# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What will be: each value after the next boot and after the next load of the module, and the line that decides it. Pure.

``facts["assignments"]`` are folded, which assignments.py has read on the host; on the controller with the files that are planned in
place of those that are there (planned.py). It is one rule for both.
"""

from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .. import kernel
from ..files import BOOT, MANAGED, MODPROBE, SYSCTL, UNLOAD
from ..sources import sysctl
from ..values import Facts
from .said import (
    ABSENT,
    BEHIND,
    DEFAULT,
    FAILS,
    HASHSIZE,
    KERNEL,
    SET,
    UNTOLD,
    USELESS,
    WARNING,
    Decision,
    Decisions,
    Line,
    Problem,
    Value,
)

if TYPE_CHECKING:
    from .loading import Loading, Parameter

# The first release whose buckets can be written as a sysctl, and the first that takes sysctl.* from its command line.
_BUCKETS_WRITABLE = (4, 8)
_COMMAND_LINE_READ = (5, 8)
# To each bucket of expectations (nf_conntrack_expect_init).
_EXPECTATIONS_PER_BUCKET = 4
# Calls of sysctl at a load, each file that one names for itself. Of more it is not told what they leave.
_MOST_CALLED = 32

# What parts of the assignments are called where not all of them is told.
_PARTS = {
    "sysctl": "sysctl.d",
    "called": "files that sysctl is called with",
    "modprobe": "modprobe.d",
    "command_line": "the kernel command line",
    "early": "modules-load.d",
    "udev": "udev's rules",
    "owners": "what else writes at boot",
    "ramdisk": "what the initial RAM disk has of modprobe.d",
}


class Overriding(NamedTuple):
    """A line of somebody else's that is applied after the role's own, and wins."""

    path: str
    line: int
    text: str
    key: str
    value: Optional[int]  # None: what it leaves cannot be told, or the load fails of it
    owner: str


class Outcome(NamedTuple):
    boot: Dict[str, Value]
    reload: Dict[str, Value]  # empty where the kernel has conntrack built in: it is never loaded again
    overriding: List[Overriding]
    problems: List[Problem]
    exposed: List[str]  # keys whose value after either event is from a file that others than root may write


class Folded(NamedTuple):
    """Decisions by key, for each event."""

    boot: Decisions
    reload: Decisions
    # What a boot leaves where the keys are there before sysctl.d is applied; without systemd nobody knows whether they are.
    applied: Decisions


# By event (boot, reload or applied), what is wanted of each key.
Wanted = Mapping[str, Mapping[str, int]]


class Contest(NamedTuple):
    """A value that will not be as it is wanted, and what decides it."""

    event: str
    key: str
    wanted: int
    decision: Decision


def predict(facts: Facts) -> Outcome:
    if facts["state"] == "absent":
        return Outcome({}, {}, [], [], [])
    fold = _Fold(facts)
    folded = fold.folded()
    decisions = [*folded.boot.items(), *folded.reload.items()]
    exposed = sorted({key for key, decision in decisions if is_nobodys(facts, decision)})
    return Outcome(
        {key: decision.value for key, decision in folded.boot.items()},
        {key: decision.value for key, decision in folded.reload.items()},
        list(_overriding(facts, folded)),
        fold.problems(),
        exposed,
    )


def differing_keys(there: Decisions, then: Decisions) -> List[str]:
    """Those that two folds leave with other values."""
    return sorted(key for key in there if key in then and there[key].value[:2] != then[key].value[:2])


def folded(facts: Facts) -> Folded:
    return _Fold(facts).folded() if facts["state"] != "absent" else Folded({}, {}, {})


def is_kept_out(facts: Facts) -> bool:
    """Whether conntrack_unload keeps the module out of this kernel: that no load succeeds is as it is to be."""
    told = facts.get("assignments") or {}
    if facts.get("state") != "loadable" or UNLOAD in (told.get("nobodys") or ()):
        return False
    return any(line["path"] == UNLOAD and line["command"] == "install" for line in told.get("modprobe") or ())


def is_nobodys(facts: Facts, decision: Decision) -> bool:
    """Whether it is of a file that others than root may write, whose word is nobody's."""
    return decision.line is not None and decision.line.path in facts["assignments"]["nobodys"]


def contested(facts: Facts, wanted: Wanted, found: Optional[Folded] = None) -> Iterator[Contest]:
    """Everything that keeps values from being as wanted: each line in turn is thought away, and what is left is folded again.

    ``found`` is how the facts are folded, where that is known. A line that is nobody's word keeps nothing from anything, and hides
    no line of root's.
    """
    if facts["assignments"]["nobodys"]:
        from .planned import of_root

        facts, found = of_root(facts), None
    found = found or folded(facts)
    seen = set()
    for event, keys in wanted.items():
        for key, value in keys.items():
            while True:
                decision = getattr(found, event).get(key, _ABSENT)
                line = decision.line
                if decision.value.value == value:
                    break
                # Of a value that nobody demands only a line can be told to be in the way.
                if event == "applied" and line is None:
                    break
                if line is None or line not in seen:
                    yield Contest(event, key, value, decision)
                if line is None or line in seen:
                    break
                seen.add(line)
                # Few hosts have any.
                from .planned import without

                facts = without(facts, [(line.file or "", line.text)])
                found = folded(facts)


def own(facts: Facts) -> Dict[str, int]:
    """What the role's own files say, by key, the buckets as the kernel rounds them."""
    said: Dict[str, int] = {}
    page, pointer = facts["kernel"]["page_size"], facts["kernel"]["pointer_bytes"]
    prefix = kernel.FLAVOURS[facts["flavour"]].prefix
    bounds = bounds_of(facts)
    hashsize = _own_hashsize(facts)
    if hashsize and facts["state"] != "builtin":
        said[HASHSIZE] = kernel.rounded_buckets(hashsize, page, pointer)
    for file in facts["assignments"]["sysctl"]:
        for line in file["lines"] if file["path"] == SYSCTL else ():
            number = sysctl.number(line["key"], line["value"], bounds)
            if number is not None and line["key"] == prefix + "buckets":
                said[HASHSIZE] = kernel.rounded_buckets(number, page, pointer)
            elif number is not None:
                said[sysctl.ALIASES.get(line["key"], line["key"])] = number
    return said


def bounds_of(facts: Facts) -> kernel.Bounds:
    """What the kernel may take."""
    return kernel.bounds(*(facts["kernel"].get(name) for name in ("release", "pointer_bytes", "hz")))


def made_by_load(facts: Facts) -> bool:
    """Whether the limit in force is what a load has made of the role's own line of modprobe.d, while its sysctl.d says less."""
    if "assignments" not in facts:
        return False
    hashsize, limit = _own_hashsize(facts), (facts.get("table") or {}).get("max")
    if not hashsize or not limit:
        return False
    kept = own(facts).get(kernel.FLAVOURS[facts["flavour"]].prefix + "max")
    page, pointer = facts["kernel"]["page_size"], facts["kernel"]["pointer_bytes"]
    at_load = kernel.ENTRIES_PER_BUCKET_AT_LOAD * kernel.rounded_buckets(hashsize, page, pointer)
    return bool(limit == at_load and kept is not None and kept < limit)


def _own_hashsize(facts: Facts) -> Optional[int]:
    """As the role writes it."""
    for line in facts["assignments"]["modprobe"]:
        name, _sep, value = line["rest"].strip().partition("=")
        if line["path"] == MODPROBE and line["command"] == "options" and name == HASHSIZE and value.isdigit():
            return int(value[:20])
    return None


def _overriding(facts: Facts, found: Folded) -> Iterator[Overriding]:
    """Lines of others, root's alone, that win over the role's own files and say something else."""
    kept = own(facts)
    if facts["assignments"].get("ramdisk"):
        # What an older copy says is no line of somebody's.
        from .planned import renewed

        facts = renewed(facts)
        found = folded(facts)
    # A load brings back what is in sysctl.d where a rule does: that it does not is no line of somebody's.
    wanted = {"applied": kept, "reload": {HASHSIZE: kept[HASHSIZE]} if HASHSIZE in kept else {}}
    for contest in contested(facts, wanted, found):
        line = contest.decision.line
        if line is not None and line.file and line.file not in MANAGED + BOOT:
            yield Overriding(line.file, line.line, line.text, contest.key, contest.decision.value.value, line.by)


class _Fold:
    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.told: Dict[str, Any] = facts["assignments"]
        self.names = kernel.FLAVOURS[facts["flavour"]]
        self.is_builtin = facts["state"] == "builtin"
        self.version = kernel.version(facts["kernel"]["release"])
        self.bounds = bounds_of(facts)
        # Of another init than systemd; then it is procps that applies sysctl.d.
        self.init: Optional[Dict[str, Any]] = self.told.get("init")
        self.procps = facts["services"]["systemd_sysctl"] is None or self.init is not None
        settings = self._settings("sysctl")
        self.settings = [one for one in settings if not sysctl.is_of_kernel(one.path)]
        self.kernels = [one for one in settings if sysctl.is_of_kernel(one.path)]
        self.keys = self._keys()
        # None where conntrack is built in and nothing is said of its parameters.
        self.loaded: Optional[Loading] = None
        if not self.is_builtin or self.told["modprobe"] or self.told["command_line"]:
            from . import loading

            self.loaded = loading.loading(self.told, self.names.module, self.version, self.is_builtin)
        # What a load by the initial RAM disk leaves there; nothing where it loads nothing.
        self.early_load = self._in_ramdisk() if self.told.get("ramdisk") else {}

    def folded(self) -> Folded:
        early = self.at_boot()
        applied = self._by_owners(self._sized(early))
        if self.is_builtin:
            return Folded(self._by_owners(self._sized(self._without(early))), {}, applied)
        later = self._after_load()
        booted = self._booted(early, later)
        after = self._sized(later) if self.told.get("sized", {}).get("at_load") else later
        return Folded(applied if booted is early else self._by_owners(self._sized(booted)), after, applied)

    def problems(self) -> List[Problem]:
        found = list(self.loaded.problems) if self.loaded else []
        for line in self.told["early"]:
            if not line["brings"]:
                said = "this kernel has no module {0}, so that nothing is loaded by that name".format(line["module"])
                found.append(Problem(USELESS, WARNING, said, line["path"], line["line"] or None))
        there = self.facts["services"]["systemd_sysctl"]
        for rule in self.told["udev"]:
            if rule["call"] and not rule["runs"]:
                said = "calls {0}, which is not there".format(rule["call"]["command"])
                said += "; on this host it is " + there if there else ""
                found.append(Problem(USELESS, WARNING, said, rule["path"], rule["line"]))
        if self.told.get("ramdisk"):
            found += self._behind(self.told["ramdisk"])
        return found

    def _behind(self, disk: Mapping[str, Any]) -> Iterator[Problem]:
        """That the initial RAM disk was made of other files than there are."""
        from .planned import renewed

        there, then = self.folded().boot, folded(renewed(self.facts)).boot
        differing = differing_keys(there, then)
        if differing:
            said = "loads the module with its own copies of modprobe.d, {0} after the next boot; {1} once it is renewed: {2}".format(
                _listed(there, differing), _listed(then, differing), disk["renew"]
            )
            yield Problem(BEHIND, WARNING, said, disk["path"], None)

    def _in_ramdisk(self) -> Decisions:
        from .planned import as_in_ramdisk

        within = _Fold(dict(self.facts, assignments=as_in_ramdisk(self.told)))
        within.keys = self.keys
        return {} if within.loaded and within.loaded.refused else within.at_boot()

    def _booted(self, early: Decisions, later: Decisions) -> Decisions:
        """Of a module: loaded before settings are applied, or after that. Where it is not known of an init, what both leave."""
        from .loading import loads_at_boot

        if self.early_load:
            return early
        why = self._why("early", "modprobe", "command_line")
        is_early = not why and loads_at_boot(self.told, self.names.module)
        if self.init is None:
            if self.procps:
                why = "without systemd it is not known whether the module is there before sysctl.d is applied"
        elif not self.init["known"]:
            why = self.init["why"]
        elif self.init["before"] and not is_early:
            why = "{0} may load the module before settings are applied".format(self.init["before"])
        if not why:
            return early if is_early else later
        return _agreed(early, later, why)

    def _without(self, early: Decisions) -> Decisions:
        """Of a kernel with the keys, what a boot leaves by an init of which it is not known whether it applies settings."""
        if self.init is None or self.init["known"]:
            return early
        return _agreed(early, self._unset(), self.init["why"])

    def _why(self, *parts: str) -> str:
        """Why what follows from these parts is not told; empty where it is."""
        for part in parts:
            if part in self.told["untold"]:
                return "not all of {0} could be told".format(_PARTS[part])
        return ""

    def _settings(self, part: str, paths: Sequence[str] = ()) -> List[sysctl.Assignment]:
        return [
            sysctl.Assignment(
                line["key"],
                line["value"],
                file["path"],
                file["file"],
                line["line"],
                line["text"],
                sysctl.is_glob(line["key"]),
                False,
            )
            for file in self.told[part]
            if not paths or file["path"] in paths
            for line in file["lines"]
        ]

    def _keys(self) -> List[str]:
        """Those that the kernel has; of a module that is not loaded, those it will have and of timeouts and switches what files name."""
        prefix = self.names.prefix
        keys = [prefix + "max"] + [prefix + "expect_max"] * self.names.bounds_expectations
        if self.facts["state"] == "loadable":
            named = sorted({line.key for line in self.settings + self.kernels if line.key.startswith(prefix)})
            keys += [key for key in named if kernel.is_switch(key)]
            return keys + [key for key in named if kernel.timeout_name(key[len(prefix) :]) in kernel.TIMEOUTS]
        keys += [prefix + name for name in self.facts["switches"]]
        return keys + [prefix + kernel.timeout_key(name) for name in sorted(self.facts["timeouts"])]

    def _at_load(self) -> Decisions:
        """What the kernel itself makes of the parameters that it is loaded with."""
        release, page, pointer = (self.facts["kernel"][name] for name in ("release", "page_size", "pointer_bytes"))
        memory = self.facts["memory"]["total_bytes"]
        table: Dict[str, Optional[int]] = self.facts.get("table") or {}
        hashsize, expect = (self.loaded.hashsize, self.loaded.expect_hashsize) if self.loaded else (None, None)
        buckets = limit = _kernels(None)
        if hashsize:
            rounded = kernel.rounded_buckets(hashsize.number, page, pointer)
            buckets = Decision(Value(SET, rounded, hashsize.source), hashsize.line)
            limit = _times(kernel.ENTRIES_PER_BUCKET_AT_LOAD, rounded, HASHSIZE, hashsize)
        elif memory and self.names.module == "nf_conntrack":
            live = (table.get("buckets"), table.get("max"))
            buckets, limit = map(_kernels, kernel.default_table(release, memory, page, pointer, live))
        if self.loaded and self.loaded.swallows and not hashsize:
            # Whatever is given may be a part of it.
            buckets, limit = (one._replace(line=self.loaded.swallows) for one in (buckets, limit))
        found = {HASHSIZE: buckets}
        for key in self.keys:
            name = kernel.timeout_name(key[len(self.names.prefix) :])
            if name:
                live_seconds = self.facts["timeouts"].get(name)
                found[key] = _kernels(kernel.default_timeout(name, release, live_seconds))
            elif kernel.is_switch(key):
                found[key] = _kernels(kernel.SWITCHES[key[len(self.names.prefix) :]])
            elif key == self.names.prefix + "expect_max":
                found[key] = _kernels(kernel.expect_max(buckets.value.value) if buckets.value.value else None)
                if expect:
                    found[key] = _times(_EXPECTATIONS_PER_BUCKET, expect.number, "expect_hashsize", expect)
            else:
                found[key] = limit
        return found

    def _after_load(self) -> Decisions:
        """Of a load by whoever comes first, a firewall or iptables -t nat -L."""
        unknown = self._not_told()
        if unknown:
            return unknown
        values = self._at_load()
        why = self._why("udev")
        if why:
            return dict.fromkeys(values, _untold(why))
        called = 0
        for call, line in self._calls():
            called += len(call["files"]) or 1
            where = "{0}:{1}".format(line.path, line.line)
            if called > _MOST_CALLED:
                return dict.fromkeys(values, _untold(where + ": more settings are applied than are read", line))
            values = self._called(values, call, line, where)
        return values

    def _calls(self) -> List[Tuple[Dict[str, Any], Line]]:
        """Of sysctl at a load, by modprobe first and then by udev."""
        found: List[Tuple[Dict[str, Any], Line]] = []
        for rule in self.told["udev"]:
            if rule["resets"]:
                found = []
            if rule["call"] and rule["runs"]:
                found.append((rule["call"], Line(rule["path"], rule["path"], rule["line"], "", "udev", "")))
        install = self.loaded.install if self.loaded else None
        if install and install.sysctl:
            found.insert(0, (install.sysctl._asdict(), install.line))
        return found

    def at_boot(self) -> Decisions:
        """Of a module that is there before settings are applied, or no module."""
        values = self._unset()
        if self.loaded and self.loaded.refused and not self.early_load:
            return values
        why = self._why("sysctl")
        return dict.fromkeys(values, _untold(why)) if why else self._set_up(values)

    def _unset(self) -> Decisions:
        """What there is before settings are applied at a boot."""
        unknown = self._not_told()
        if unknown and self.loaded and self.loaded.refused and not self.early_load:
            return unknown
        # What it is loaded with may not be known; what is set afterwards is.
        values = self.early_load or unknown or self._at_load()
        if self.is_builtin and self.version >= _COMMAND_LINE_READ and self.told["command_line"]:
            values = self._applied(values, sysctl.command_line(" ".join(self.told["command_line"])), True)
        return values

    def _set_up(self, values: Decisions) -> Decisions:
        """By the init, at a boot: in one call, or in one for each file."""
        if self.kernels:
            values = self._applied(values, self.kernels, False)
        if self.init is None or not self.init["known"]:
            return self._applied(values, self.settings, self.procps)
        has_own = any(file["path"] == SYSCTL for file in self.told["sysctl"])
        paths = self.init["planned" if has_own else "applied"]
        files = [self._settings("sysctl", [path]) or self._settings("called", [path]) for path in paths]
        files = [[line for line in lines if self.init["globs"] or not line.glob] for lines in files]
        if not self.init["each"]:
            return self._applied(values, [line for lines in files for line in lines], True)
        found, other = values, values
        for lines in files:
            found = self._applied(found, lines, True)
        for lines in [] if self.init["ordered"] else files[::-1]:
            other = self._applied(other, lines, True)
        return (
            found if self.init["ordered"] else _agreed(found, other, "the order of sysctl.d's files is not told here")
        )

    def _not_told(self) -> Decisions:
        """Every key without a value, and why: where a load fails, or runs a command that may do anything. Else nothing."""
        why = self._why("modprobe", "command_line", "ramdisk")
        if self.loaded and self.loaded.refused:
            line = self.loaded.refused
            decision = Decision(Value(FAILS, None, "the load fails: " + _place(line)), line)
        elif self.loaded and self.loaded.install and not self.loaded.install.told:
            decision = _untold("install command of " + _place(self.loaded.install.line), self.loaded.install.line)
        elif why:
            decision = _untold(why)
        else:
            return {}
        return dict.fromkeys([HASHSIZE] + self.keys, decision)

    def _called(self, values: Decisions, call: Mapping[str, Any], line: Line, where: str) -> Decisions:
        """What a call of systemd-sysctl, or of procps' sysctl, makes of values; ``where`` it stands."""
        procps = not call["command"].endswith("systemd-sysctl")
        why = self._why("called" if call["files"] else "sysctl")
        if why:
            return dict.fromkeys(values, _untold(why))
        if call["files"]:
            settings = [one for path in call["files"] for one in self._settings("called", [path])]
        else:
            # Only the service has credentials.
            settings = [one for one in self.settings if not one.path.endswith(sysctl.EXTRA)]
        if call["pattern"] is not None:
            # Few hosts have one.
            from ..sources.patterns import finds

            found = {key: finds(call["pattern"], key) for key in {one.key for one in settings}}
            if None in found.values():
                # What it may set is what any line reaches, each in turn.
                may = self._applied(values, settings, True, call["prefixes"])
                unclear = _untold("{0}: --pattern {1:.99} is not understood".format(where, call["pattern"]), line)
                return {key: value if may[key] is value else unclear for key, value in values.items()}
            settings = [one for one in settings if found[one.key]]
        return self._applied(values, settings, procps, call["prefixes"])

    def _applied(
        self, values: Decisions, settings: Sequence[sysctl.Assignment], procps: bool, prefixes: Sequence[str] = ()
    ) -> Decisions:
        found = dict(values)
        buckets = self.names.prefix + "buckets"
        keys = self.keys + self.told["aliases"] + ([buckets] if self.version >= _BUCKETS_WRITABLE else [])
        # What procps alone reads.
        settings = [one for one in settings if procps or one.path != sysctl.SYSCTL_CONF]
        lines = sysctl.effective(settings, keys, prefixes, procps, self.bounds)
        for key, one in lines.items():
            value = sysctl.number(key, one.value, self.bounds)
            source = "{0}:{1}".format(one.file, one.line)
            line = Line(one.path, one.file, one.line, one.text, "sysctl.d", "")
            if one.file == sysctl.COMMAND_LINE:
                source, line = kernel.COMMAND_LINE, line._replace(path=kernel.COMMAND_LINE, file=kernel.COMMAND_LINE)
            if key == buckets:
                found[HASHSIZE] = Decision(Value(SET, self._rounded(value), source), line)
            elif key in found:
                found[key] = self._set(key, value, source, line)
        # No line of procps' stands in the place of another.
        withdrawn = {} if procps else sysctl.withdrawn(settings, set(keys) - set(lines), prefixes, self.bounds)
        for key, one in withdrawn.items():
            # The value is what it was before: because of this line.
            key = HASHSIZE if key == buckets else key
            if key in found:
                line = Line(one.path, one.file, one.line, one.text, "sysctl.d", "")
                found[key] = Decision(found[key].value, line)
        return found

    def _set(self, key: str, value: Optional[int], source: str, line: Line) -> Decision:
        """By a value that the kernel may take; of no time that has more ticks than there may be room for is it known what becomes of it."""
        longest = kernel.longest_timeout(self.facts["kernel"].get("hz"))
        if value is not None and "_timeout" in key and abs(value) > longest:
            said = "{0}: whether this kernel takes more than {1} s, and for what, is not known".format(source, longest)
            return _untold(said, line)
        return Decision(Value(UNTOLD if value is None else SET, value, source), line)

    def _rounded(self, buckets: Optional[int]) -> Optional[int]:
        page, pointer = (self.facts["kernel"][name] for name in ("page_size", "pointer_bytes"))
        return kernel.rounded_buckets(buckets, page, pointer) if buckets else None

    def _sized(self, values: Decisions) -> Decisions:
        """By the unit of conntrack_size_at_boot, which comes before all that a boot starts. Where a load fails, so does it."""
        unit = self.told.get("sized")
        names = (self.names.prefix + "max", HASHSIZE, self.names.prefix + "expect_max")
        found = [values[key].value.value if key in values else None for key in names]
        if not unit or values[names[0]].value.kind in (FAILS, ABSENT):
            return values
        source = "{0}: by this machine's memory".format(unit["path"])
        remedy = "set conntrack_max, which it keeps, or conntrack_size_at_boot=false"
        line = Line(unit["path"], unit["path"], 0, "", "systemd", remedy)
        if not unit.get("sizes") or None in found[:2]:
            said = "{0}, which is not told whole".format(source)
            return {key: _untold(said, line) if key in names else value for key, value in values.items()}
        sizes = unit["sizes"](*found)
        # What is as large already stays whose it is, unless it is nobody's.
        moved = {
            key
            for key in sizes
            if key in values and (values[key].line is None or values[key].value.value != sizes[key])
        }
        return {
            key: Decision(Value(SET, sizes[key], source), line) if key in moved else value
            for key, value in values.items()
        }

    def _by_owners(self, values: Decisions) -> Decisions:
        """Those who write at boot come after systemd-sysctl."""
        why = self._why("owners")
        if why:
            return dict.fromkeys(values, _untold(why))
        found = dict(values)
        for owner in self.told["owners"]:
            line = Line(owner["path"], owner["path"], owner["line"] or 0, owner["text"], owner["name"], owner["remedy"])
            if owner["call"]:
                found = self._reapplied(found, owner, line)
                continue
            for key, value in owner["keys"].items():
                if key in found and (value is None or sysctl.number(key, str(value), self.bounds) is not None):
                    value = self._rounded(value) if key == HASHSIZE else value
                    found[key] = self._set(key, value, "{0}: {1}".format(owner["name"], owner["evidence"]), line)
        return found

    def _reapplied(self, values: Decisions, owner: Mapping[str, Any], line: Line) -> Decisions:
        """By an owner that applies files again: the line there decides."""
        found = self._called(values, owner["call"], line, "{0}:{1}".format(line.path, line.line))
        for key, decision in found.items():
            if decision is not values[key] and decision.line and decision.line is not line:
                source = "{0}: {1}: {2}".format(owner["name"], owner["text"].strip(), decision.value.source)
                found[key] = Decision(decision.value._replace(source=source), decision.line._replace(by=owner["name"]))
        return found


_ABSENT = Decision(Value(ABSENT, None, "this kernel has no such key"), None)


def _kernels(value: Optional[int]) -> Decision:
    """What the kernel has compiled in, or makes of its memory."""
    return Decision(Value(UNTOLD if value is None else KERNEL, value, DEFAULT), None)


def _times(factor: int, number: int, name: str, given: "Parameter") -> Decision:
    return Decision(Value(SET, factor * number, "{0} x {1} from {2}".format(factor, name, given.source)), given.line)


def _untold(why: str, line: Optional[Line] = None) -> Decision:
    return Decision(Value(UNTOLD, None, why), line)


def _agreed(one: Decisions, other: Decisions, why: str) -> Decisions:
    return {key: decision if decision.value == other[key].value else _untold(why) for key, decision in one.items()}


def _listed(decisions: Decisions, keys: Sequence[str]) -> str:
    found = [decisions[key].value.value for key in keys]
    return ", ".join("{0} {1}".format(key, "not known" if value is None else value) for key, value in zip(keys, found))


def _place(line: Line) -> str:
    return "{0}:{1}".format(line.file, line.line) if line.line else str(line.path)
