# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's assignments as they will be: with the role's own files as they are planned, and without lines that go. Pure."""

import posixpath
from typing import Any, Callable, Iterable, Mapping, Tuple

from .. import kernel
from ..files import BOOT, MODPROBE, MODULES_LOAD, STARTS, SYSCTL, UDEV
from ..sources.sysctl import SYSCTL_CONF, parse
from ..values import Facts
from .assignments import Assignments, Part, early_file, modprobe_lines, sysctl_files, udev_file

Gone = Iterable[Tuple[str, str]]


def planned(facts: Facts, contents: Mapping[str, str], gone: Gone = ()) -> Facts:
    """The same facts with ``contents``, texts by path of managed files, in place of what is there, and without the lines of
    ``gone``, each a path and a text, which will be commented out wherever that path has such a line."""
    told: Assignments = dict(facts["assignments"], untold=list(facts["assignments"]["untold"]))
    module = kernel.FLAVOURS[facts["flavour"]].module
    if SYSCTL in contents:
        _put_sysctl(told, contents[SYSCTL], facts)
    # A kernel that has it built in asks none of the others.
    if facts["state"] != "builtin":
        if MODPROBE in contents:
            if told.get("ramdisk"):
                # What is written now is not in there.
                told["ramdisk"] = dict(told["ramdisk"], modprobe=_in_ramdisk(told))
            _put(told, "modprobe", MODPROBE, modprobe_lines({MODPROBE: contents[MODPROBE]}, module, told))
        # Another init may read none of that folder, or read it too late.
        if MODULES_LOAD in contents and told.get("init", {"first": True})["first"]:
            # Whatever else is named there: the role's own file has the module itself.
            own = early_file(MODULES_LOAD, contents[MODULES_LOAD], lambda name: (name, name == module), told)
            _put(told, "early", MODULES_LOAD, [line for line in own if line["brings"]])
        if UDEV in contents:
            helper = facts["services"]["systemd_sysctl"]
            _put(told, "udev", UDEV, udev_file(UDEV, contents[UDEV], module, lambda path: bool(path == helper), told))
    if STARTS in contents:
        from .sized import sized_by

        told.pop("sized", None)
        unit = sized_by(contents)
        if unit:
            told["sized"] = unit
    return without(dict(facts, assignments=told), gone)


def without(facts: Facts, gone: Gone) -> Facts:
    """The same facts without these lines."""
    # What has no text cannot be found, and stays.
    lines = {line for line in gone if line[1]}
    if not lines:
        return facts
    told: Assignments = dict(facts["assignments"])
    for part in ("sysctl", "called"):
        told[part] = [
            dict(file, lines=[line for line in file["lines"] if (file["file"], line["text"]) not in lines])
            for file in told[part]
        ]
    for part in ("modprobe", "owners"):
        told[part] = [line for line in told[part] if (line["path"], line["text"]) not in lines]
    words = {text for path, text in lines if path == kernel.COMMAND_LINE}
    if words:
        from .loading import said

        told["command_line"] = [word for word in told["command_line"] if not words & said(word)]
    return dict(facts, assignments=told)


def renewed(facts: Facts) -> Facts:
    """The same facts with an initial RAM disk as it is once it is made anew."""
    told = facts["assignments"]
    disk = dict(told["ramdisk"], modprobe=None, sysctl=[], told=True, older=[])
    return dict(facts, assignments=dict(told, ramdisk=disk))


def as_in_ramdisk(told: Assignments) -> Assignments:
    """The assignments as those find them that run in there."""
    disk = told["ramdisk"]
    within = dict(told, modprobe=_in_ramdisk(told), sysctl=disk["sysctl"], untold=list(told["untold"]))
    if not disk["told"]:
        within["untold"].append("ramdisk")
    del within["ramdisk"]
    within.pop("sized", None)
    return within


def _in_ramdisk(told: Assignments) -> Part:
    disk = told["ramdisk"]
    if disk["modprobe"] is not None:
        return list(disk["modprobe"])
    copied = [line for line in told["modprobe"] if line["path"].startswith(tuple(disk["copies"]))]
    return [*copied, *disk["options"]]


def of_root(facts: Facts) -> Facts:
    """The same facts without what stands in files that others than root may write."""
    told: Assignments = dict(facts["assignments"])
    for part in ("sysctl", "called", "modprobe", "early", "udev", "owners"):
        told[part] = [entry for entry in told[part] if entry["path"] not in told["nobodys"]]
    if not set(BOOT).isdisjoint(told["nobodys"]):
        told.pop("sized", None)
    return dict(facts, assignments=dict(told, nobodys=[]))


def _put_sysctl(told: Assignments, text: str, facts: Facts) -> None:
    def file(path: str) -> Part:
        return sysctl_files(parse(path, text, SYSCTL), facts, told)

    # Links to it say the same.
    others = [one for entry in told["sysctl"] for one in (file(entry["path"]) if entry["file"] == SYSCTL else [entry])]
    last = [entry for entry in others if entry["path"] == SYSCTL_CONF]
    told["sysctl"] = [entry for entry in others if entry["path"] != SYSCTL_CONF]
    _put(told, "sysctl", SYSCTL, file(SYSCTL), _by_bytes)
    told["sysctl"] += last
    own = {line["key"] for entry in file(SYSCTL) for line in entry["lines"]}
    told["owners"] = [
        dict(owner, keys={key: value for key, value in owner["keys"].items() if not (owner["yields"] and key in own)})
        for owner in told["owners"]
    ]
    # By who names it.
    told["called"] = [entry for entry in told["called"] if entry["path"] != SYSCTL] + file(SYSCTL)


def _by_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _put(told: Assignments, part: str, path: str, own: Part, order: Callable[[str], Any] = str) -> None:
    """``own`` in the place of the file ``path`` among the others, which hides those of its name in other folders."""
    folder, name = posixpath.split(path)
    before: Part = []
    after: Part = []
    for entry in told[part]:
        there, other = posixpath.split(entry["path"])
        if not (there.endswith(folder[len("/etc") :]) and other == name):
            (after if order(other) > order(name) else before).append(entry)
    told[part] = before + own + after
