# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the live kernel as asked: all or nothing, never through an unsafe state, and read back."""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from .. import kernel, readers
from ..facts.gather import gather
from ..host.door import Host
from ..sources.tracking import buckets_path
from ..values import Facts


class Wanted(NamedTuple):
    """What is asked for; None and missing names are left alone."""

    max: Optional[int] = None
    buckets: Optional[int] = None
    expect_max: Optional[int] = None
    timeouts: Dict[str, int] = {}
    shrink: bool = False


class Setting(NamedTuple):
    """One live value: its name, the file to write it through, what it is and what it is to be."""

    name: str
    path: Optional[str]
    found: Optional[int]
    wanted: int
    rank: int  # of those that rise; the others go afterwards, the other way round


class SettingsError(Exception):
    """Refused or failed; the text says what was expected, what was found, and what to do."""


class Outcome(NamedTuple):
    changed: bool
    before: Dict[str, Optional[int]]
    after: Dict[str, Optional[int]]


_BUCKETS, _LIMIT, _EXPECTATIONS, _TIMEOUT = 0, 1, 2, 3
# What of the facts says whether a value can be written: the kernel lets expect_max be written where max is.
_WRITABLE = {_BUCKETS: "buckets", _LIMIT: "max", _EXPECTATIONS: "max", _TIMEOUT: "timeouts"}

_READERS: Dict[str, readers.Reader] = {
    "max": readers.whole(1, kernel.LARGEST_LIMIT, "entries"),
    "buckets": readers.whole(1, kernel.LARGEST_HASHSIZE, "buckets"),
    # 0 lets none in, where a limit of 0 is none at all.
    "expect_max": readers.whole(0, kernel.LARGEST_LIMIT, "expectations"),
    "timeouts": readers.timeouts(),
    "shrink": readers.truth,
}


def read(options: Mapping[str, Any]) -> Wanted:
    """The options of the module conntrack_settings. Raises SettingsError for what would not do."""
    found, wrong = readers.read_each(options, _READERS)
    if wrong:
        raise SettingsError("; ".join(wrong.values()))
    return Wanted(**found)


def apply(host: Host, wanted: Wanted, check: bool = False) -> Outcome:
    """Bring the host's live values to ``wanted``; with ``check``, all of it but the writing.

    Values not asked for are neither written nor returned. Raises SettingsError, after which every value is
    what it was before.
    """
    facts = gather(host, ["table"])
    settings = _settings(host, facts, wanted)
    changes = in_safe_order([setting for setting in settings if setting.found != setting.wanted])
    _refuse_unsafe(facts, wanted, changes)
    _refuse_unwritable(facts, changes)
    if not check:
        _write(host, changes)
    before = {setting.name: setting.found for setting in settings}
    return Outcome(bool(changes), before, dict(before, **{change.name: change.wanted for change in changes}))


def _settings(host: Host, facts: Facts, wanted: Wanted) -> List[Setting]:
    """Everything asked for, the buckets as this kernel will round them."""
    names = kernel.FLAVOURS[facts["flavour"]]
    found = facts["table"]
    settings = []
    if wanted.buckets is not None:
        pointer, page = facts["kernel"]["pointer_bytes"], facts["kernel"]["page_size"]
        rounded = kernel.rounded_buckets(wanted.buckets, page, pointer)
        settings.append(Setting("hashsize", buckets_path(host, names), found["buckets"], rounded, _BUCKETS))
    if wanted.max is not None:
        key = names.prefix + "max"
        settings.append(Setting(key, kernel.sysctl_path(key), found["max"], wanted.max, _LIMIT))
    if wanted.expect_max is not None:
        key = names.prefix + "expect_max"
        path = kernel.sysctl_path(key)
        settings.append(Setting(key, path, found["expect_max"], wanted.expect_max, _EXPECTATIONS))
    for name in sorted(wanted.timeouts):
        key = names.prefix + kernel.timeout_key(name)
        seconds = facts["timeouts"].get(name)
        settings.append(Setting(key, kernel.sysctl_path(key), seconds, wanted.timeouts[name], _TIMEOUT))
    return settings


def in_safe_order(changes: List[Setting]) -> List[Setting]:
    """Growing: buckets, then the limit, so that chains stay short. Shrinking: the limit, then the buckets.

    Timeouts come between: a limit falls only after they have.
    """

    def rank(change: Setting) -> Tuple[int, int]:
        if change.rank == _TIMEOUT:
            return (1, 0)
        if change.found is None or _rises(change):
            return (0, change.rank)
        return (2, -change.rank)

    return sorted(changes, key=rank)


def _rises(change: Setting) -> bool:
    """A limit of 0, which kernels before 6.19 have, is none at all: every other one is lower."""
    no_limit = change.rank == _LIMIT and change.found == 0
    return not no_limit and (change.found is None or change.wanted > change.found)


def _refuse_unsafe(facts: Facts, wanted: Wanted, changes: List[Setting]) -> None:
    for change in changes:
        if change.rank == _TIMEOUT or change.found is None or _rises(change):
            continue
        count = facts["table"]["count"] or 0
        if change.rank == _LIMIT and change.wanted < count:
            raise SettingsError(
                "{0}: {1} asked for, but {2} flows are in use and the kernel would drop new ones; "
                "name at least {2}, or shorten timeouts first".format(change.name, change.wanted, count)
            )
        if change.rank == _BUCKETS and 2 * count > kernel.LONGEST_CHAIN * change.wanted:
            raise SettingsError(
                "{0}: {1} asked for, but with {2} flows in use the kernel would refuse new ones for chains longer than "
                "{3}; name at least {4}".format(
                    change.name, change.wanted, count, kernel.LONGEST_CHAIN, -(-2 * count // kernel.LONGEST_CHAIN)
                )
            )
        # A first limit where there was none is no shrinking, as long as the flows fit.
        if change.found and not wanted.shrink:
            raise SettingsError(
                "{0}: {1} asked for, but {2} is in force; name at least that, or set shrink=true".format(
                    change.name, change.wanted, change.found
                )
            )


def _refuse_unwritable(facts: Facts, changes: List[Setting]) -> None:
    """One sentence for all that is not so already and cannot be made so."""
    writable = facts["kernel"]["writable"]
    stuck = [change for change in changes if change.found is None or not writable[_WRITABLE[change.rank]]]
    if stuck:
        listed = ", ".join("{0} ({1} found, {2} asked for)".format(c.name, c.found, c.wanted) for c in stuck)
        raise SettingsError("cannot be written here: {0}: {1}".format(listed, _why(facts, stuck)))


def _why(facts: Facts, stuck: List[Setting]) -> str:
    said = facts["kernel"]
    if facts["state"] in ("loadable", "absent"):
        return "{0} is not loaded; load it first, or only persist".format(facts["flavour"])
    if not said["root"]:
        return "root is needed; run with become"
    if not said["init_netns"] and any(change.rank != _TIMEOUT for change in stuck):
        return "this is not the first network namespace, to which the limit and the buckets belong; run on the host"
    if any(change.found is None for change in stuck):
        return "this kernel has no such setting"
    return "/proc/sys or /sys is read-only here{0}; run on the host".format(
        ", in a container of kind " + said["container"] if said["container"] else ""
    )


def _write(host: Host, changes: List[Setting]) -> None:
    """Write each and read it back; on the first that does not hold, put back those before it."""
    done: List[Setting] = []
    for change in changes:
        done.append(change)
        wrong = _set(host, change, change.wanted)
        if wrong:
            for one in reversed(done):
                _set(host, one, one.found)
            lost = ["{0} is {1}".format(one.name, _now(host, one)) for one in done if _now(host, one) != str(one.found)]
            raise SettingsError(
                "{0}: {1} asked for, {2}; {3}".format(
                    change.name,
                    change.wanted,
                    wrong,
                    "not all could be put back: " + ", ".join(lost) if lost else "every value is again what it was",
                )
            )


def _set(host: Host, setting: Setting, value: Optional[int]) -> str:
    """Write a value and read it back; what went wrong, or nothing."""
    try:
        host.write(setting.path or "", "{0}\n".format(value))
    except OSError as error:
        return "writing {0} failed: {1}".format(setting.path, error.strerror)
    found = _now(host, setting)
    return "" if found == str(value) else "{0} reads {1!r} after it was written".format(setting.path, found)


def _now(host: Host, setting: Setting) -> str:
    return (host.read(setting.path or "") or "").strip()
