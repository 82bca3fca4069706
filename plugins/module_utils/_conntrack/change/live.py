# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The live kernel as asked: never through an unsafe state, and read back. And as it was: as far as that is safe."""

from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple, Union

from .. import kernel
from ..host.writing import WritableHost
from ..journal.record import Value
from ..sources.tracking import buckets_path, sysctl
from ..values import Facts, integer
from .failure import ChangeError, stale
from .request import Asked


class Setting(NamedTuple):
    """One live value: its name, the file to write it through, what it is and what it is to be."""

    name: str
    path: Optional[str]
    found: Optional[int]
    wanted: int
    rank: int  # of those that rise; the others go afterwards, the other way round


_BUCKETS, _LIMIT, _EXPECTATIONS, _TIMEOUT = 0, 1, 2, 3
# What of the facts says whether a value can be written: the kernel lets expect_max be written where max is.
_WRITABLE = {_BUCKETS: "buckets", _LIMIT: "max", _EXPECTATIONS: "max", _TIMEOUT: "timeouts"}
# A limit that is given back leaves flows as much room again.
_ROOM = 2


def settings(host: WritableHost, facts: Facts, wanted: Asked) -> List[Setting]:
    """Everything asked for, the buckets as this kernel will round them. Raises ChangeError for what must not or cannot be.

    An image has no live values.
    """
    if wanted.target == "image":
        return []
    found = _settings(host, facts, wanted)
    for setting in found:
        # What has come to be as asked meanwhile is no reason to ask anew.
        if setting.found not in (wanted.found.get(setting.name, setting.found), setting.wanted):
            raise stale(
                "{0}: {1} planned from, {2} found".format(setting.name, wanted.found[setting.name], setting.found)
            )
    changes = to_change(found)
    _refuse_unsafe(facts, wanted, changes)
    _refuse_unwritable(facts, changes)
    return found


def values(facts: Facts) -> Dict[str, Optional[int]]:
    """All live values by name, as facts have them."""
    prefix, table = kernel.FLAVOURS[facts["flavour"]].prefix, facts["table"]
    found = {prefix + kernel.timeout_key(name): seconds for name, seconds in facts["timeouts"].items()}
    found.update({prefix + name: value for name, value in facts["switches"].items()})
    return dict(
        found,
        **{"hashsize": table["buckets"], prefix + "max": table["max"], prefix + "expect_max": table["expect_max"]},
    )


def to_change(found: List[Setting]) -> List[Setting]:
    return in_safe_order([setting for setting in found if setting.found != setting.wanted])


def write(host: WritableHost, changes: List[Setting]) -> None:
    """Write each and read it back. Raises ChangeError on the first that does not hold."""
    for change in changes:
        wrong = _set(host, change, change.wanted)
        if wrong:
            raise ChangeError("{0}: {1} asked for, {2}".format(change.name, change.wanted, wrong))


class Return(NamedTuple):
    """A live value on its way back."""

    setting: Setting
    why_not: str  # what keeps it from being wholly as it was; else nothing


def returns(host: WritableHost, facts: Facts, values: Iterable[Value]) -> List[Return]:
    """Each value as it was, or as near to that as flows in use leave it; in safe order. What is so already is not among them."""
    count = integer(host.read(sysctl(kernel.FLAVOURS[facts["flavour"]], "count"))) or 0
    found = {}
    for value in values:
        found_now = now(host, value)
        wanted, why = value.before, ""
        if value.rank == _LIMIT and 0 < wanted < count:
            wanted, why = _lowest(found_now, _ROOM * count), "{0} flows are in use".format(count)
        elif value.rank == _BUCKETS and 2 * count > kernel.LONGEST_CHAIN * wanted:
            wanted = _lowest(found_now, -(-2 * count // kernel.LONGEST_CHAIN))
            why = "with {0} flows in use chains would be longer than {1}".format(count, kernel.LONGEST_CHAIN)
        if found_now != value.before:
            setting = Setting(value.name, value.path, found_now, wanted, value.rank)
            found[value.name] = Return(setting, why)
    ordered = in_safe_order([one.setting for one in found.values()])
    return [found[setting.name] for setting in ordered]


def _lowest(now: Optional[int], safe: int) -> int:
    """No less than is safe, and no more than there is."""
    return min(now, safe) if now else safe


def give_back(host: WritableHost, returned: Return) -> str:
    """Write one value; what keeps it from being as it was, or nothing."""
    setting = returned.setting
    if setting.found is None:
        return "there is no such value now; it is what files say once there is"
    wrong = (
        "" if setting.found == setting.wanted else _set(host, setting, setting.wanted, rounds=bool(returned.why_not))
    )
    return wrong or returned.why_not


def now(host: WritableHost, setting: Union[Setting, Value]) -> Optional[int]:
    return integer(host.read(setting.path or ""))


def _settings(host: WritableHost, facts: Facts, wanted: Asked) -> List[Setting]:
    names = kernel.FLAVOURS[facts["flavour"]]
    found = facts["table"]
    listed = []
    if wanted.buckets is not None:
        pointer, page = facts["kernel"]["pointer_bytes"], facts["kernel"]["page_size"]
        rounded = kernel.rounded_buckets(wanted.buckets, page, pointer)
        listed.append(Setting("hashsize", buckets_path(host, names), found["buckets"], rounded, _BUCKETS))
    if wanted.max is not None:
        key = names.prefix + "max"
        listed.append(Setting(key, kernel.sysctl_path(key), found["max"], wanted.max, _LIMIT))
    if wanted.expect_max is not None:
        key = names.prefix + "expect_max"
        path = kernel.sysctl_path(key)
        listed.append(Setting(key, path, found["expect_max"], wanted.expect_max, _EXPECTATIONS))
    for name in sorted(wanted.timeouts):
        key = names.prefix + kernel.timeout_key(name)
        seconds = facts["timeouts"].get(name)
        listed.append(Setting(key, kernel.sysctl_path(key), seconds, wanted.timeouts[name], _TIMEOUT))
    # Nothing is unsafe about them: they are set with the timeouts.
    for name in sorted(wanted.switches):
        key = names.prefix + name
        there = facts["switches"].get(name)
        listed.append(Setting(key, kernel.sysctl_path(key), there, wanted.switches[name], _TIMEOUT))
    return listed


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


def _refuse_unsafe(facts: Facts, wanted: Asked, changes: List[Setting]) -> None:
    for change in changes:
        if change.rank == _TIMEOUT or change.found is None or _rises(change):
            continue
        count = facts["table"]["count"] or 0
        if change.rank == _LIMIT and change.wanted < count:
            raise ChangeError(
                "{0}: {1} asked for, but {2} flows are in use and the kernel would drop new ones; "
                "name at least {2}, or shorten timeouts first".format(change.name, change.wanted, count)
            )
        if change.rank == _BUCKETS and 2 * count > kernel.LONGEST_CHAIN * change.wanted:
            raise ChangeError(
                "{0}: {1} asked for, but with {2} flows in use the kernel would refuse new ones for chains longer than "
                "{3}; name at least {4}".format(
                    change.name, change.wanted, count, kernel.LONGEST_CHAIN, -(-2 * count // kernel.LONGEST_CHAIN)
                )
            )
        # A first limit where there was none is no shrinking, as long as the flows fit.
        if change.found and not wanted.shrink:
            raise ChangeError(
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
        raise ChangeError("cannot be written here: {0}: {1}".format(listed, _why(facts, stuck)))


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


def _set(host: WritableHost, setting: Setting, value: int, rounds: bool = False) -> str:
    """Write a value and read it back; what went wrong, or nothing. ``rounds``: whether more is as good."""
    try:
        host.write(setting.path or "", "{0}\n".format(value))
    except OSError as error:
        return "writing {0} failed: {1}".format(setting.path, error.strerror)
    found = now(host, setting)
    if found == value or (rounds and found is not None and found > value):
        return ""
    return "{0} reads {1!r} after it was written".format(setting.path, (host.read(setting.path or "") or "").strip())
