# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that decides what will be, read on the host as plain data, in the order in which it is applied.

``facts["assignments"]`` is what the fold needs, and the same for a host as it is and as it is planned (planned.py):

- ``sysctl``: the files of sysctl.d in the order of reading, ``path`` as found there and ``file`` where it leads to, with those
  ``lines`` (``line``, ``key``, ``value``, ``text``) that reach a key of connection tracking, by a glob, an alias or its name. A
  ``value`` of None keeps globs away. /etc/sysctl.conf, which procps alone reads, is the last.
- ``called``: the same of files that a call of sysctl names for itself.
- ``aliases``: other names of these keys that the kernel has, or will have.
- ``modprobe``: the lines of modprobe.d that concern the module, as kmod takes them (``command``, ``name``, ``rest``), and those that
  it ignores, whose ``command`` is empty.
- ``command_line``: words of the kernel's that are about connection tracking or modules, and --.
- ``parameters``: those of the module that lines give it and that not every kernel's has, as this one's does.
- ``early``: what has a ``module`` loaded before sysctl.d is applied, which is ours or ``brings`` it: lines, and words of the kernel's
  command line. Those that would bring it on other kernels, and name none that this one has, are there, too.
- ``udev``: what rules have run at a load: ``resets`` takes back what was there, ``call`` applies settings, and ``runs`` if it is there.
- ``owners``: who writes these keys at each boot, after sysctl.d: owners.owner.Owner. What ``yields`` does not where sysctl.d has
  the key.
- ``unloading``: of each firewall's configuration the line that says whether a restart unloads the module; ``line`` 0 without a
  text where none does, and one at its end would.
- ``ramdisk``, only where the initial RAM disk of the kernel loads the module: its ``path``, and the command to ``renew`` it. What that
  would give it are the lines of modprobe.d whose files lie where ``copies`` says, and ``options`` of its own; what it has is ``modprobe``,
  with its ``sysctl``, or nothing where it is the same. With files ``older`` than they are now it is opened, or else not ``told``.
- ``nobodys``: those of all these files that others than root may write.
- ``sized``, only where a unit sizes the table at a boot: its ``path``, what it is ``asked`` for, nothing where that is not understood, and
  whether it does so ``at_load`` as well.
- ``init``: only where systemd is not the init: what is known of another (inits.py).
- ``untold``: which of these parts are not told whole: a text is not as it is shown, or there are too many. What follows from
  them is untold, too.
"""

import posixpath
import re
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .. import kernel
from ..files import BOOT, FIREWALLD, IPTABLES, MANAGED, STARTS, SYSCTL
from ..shown import short
from ..sources import sysctl
from ..values import Facts
from .said import HASHSIZE

if TYPE_CHECKING:
    # The same as in sources.sysctl.
    from ..host.door import Host
    from ..owners.owner import Owner
    from ..sources.udev import Sysctl
    from .inits import Named as ByInit
    from .modules import Modules

# Of each part. Somebody's list of all timeouts is 40 lines.
MOST = 200
# Calls of sysctl at a load, each file that one names for itself. Of more it is not told what they leave.
MOST_CALLED = 32

Part = List[Dict[str, Any]]
Named = Tuple[str, bool]
Assignments = Dict[str, Any]


class Exposed(NamedTuple):
    """A file that is applied at a boot or a load though others than root may write it."""

    path: str
    why: str


PARTS = (
    "sysctl",
    "called",
    "aliases",
    "modprobe",
    "command_line",
    "parameters",
    "early",
    "udev",
    "owners",
    "unloading",
    "nobodys",
    "untold",
)


def assignments(host: "Host", facts: Facts, owned: Sequence["Owner"]) -> Tuple[Assignments, List[Exposed]]:
    """``facts`` are those of this host that are always gathered, with timeouts, switches and services; and which files others may write."""
    found: Assignments = {name: [] for name in PARTS}
    if facts["state"] == "absent":
        return found, []
    module = kernel.FLAVOURS[facts["flavour"]].module
    is_builtin = facts["state"] == "builtin"
    found["aliases"] = [
        alias
        for alias, key in sorted(sysctl.ALIASES.items())
        if key.startswith(kernel.FLAVOURS[facts["flavour"]].prefix)
        and (facts["state"] == "loadable" or host.exists(kernel.sysctl_path(alias)))
    ]
    # Where conntrack is built in, little is said of its parameters, and what reads that need not be loaded.
    if not is_builtin or _is_spoken_of(host, module):
        _parameters(host, module, found)
    # The controller reads no host.
    from ..sources.services import boots_systemd

    names: Optional[List[ByInit]] = None
    if not boots_systemd(host, facts["services"]["systemd_sysctl"]):
        from .inits import init

        another = init(host)
        if another:
            found["init"], names = another
    if not is_builtin:
        _known(host, module, facts["kernel"]["release"], found)
        _loads(host, module, facts, found, names)
    if facts["services"]["systemd_sysctl"] and host.exists(STARTS):
        from .sized import sized

        unit = sized(host)
        if unit:
            found["sized"] = unit
    keys = _keys(facts, found)
    calls = [call for rule in found["udev"] if rule["call"] for call in [rule["call"]]] + _installed(found)
    calls += [call for owner in owned if owner.at_boot for call in [_plain(owner.call)] if call]
    procps = facts["services"]["systemd_sysctl"] is None or any(is_procps(call) and not call["files"] for call in calls)
    lines = sysctl.assignments(host, procps)
    if facts["services"]["systemd_sysctl"]:
        extra = sysctl.credential(host)
        if extra is None:
            found["untold"].append("sysctl")
        lines = sysctl.of_kernel(host, facts["kernel"]["release"]) + lines + (extra or [])
    found["sysctl"] = _files(lines, keys, found)
    called = sorted({path for call in calls for path in call["files"]})[:MOST_CALLED]
    there = {file["path"] for file in found["sysctl"]}
    # What an init reads in folders, where another file of the name hides it from procps.
    called += [path for path in found["init"]["applied"] if path not in there] if "init" in found else []
    for path in dict.fromkeys(called):
        found["called"] += _files(sysctl.of_file(host, path), keys, found)
    _owners(owned, keys, found)
    _unloading(host, found)
    for name in ("sysctl", "called"):
        if sum(len(file["lines"]) for file in found[name]) > MOST:
            found["untold"].append(name)
            found[name] = []
    for name in ("modprobe", "command_line", "parameters", "early", "udev", "owners", "unloading"):
        if len(found[name]) > MOST:
            found["untold"].append(name)
            found[name] = found[name][:MOST]
    found["untold"] = sorted(set(found["untold"]))
    return found, _exposed(host, module, is_builtin, owned, found)


def is_told(*texts: Optional[str]) -> bool:
    """Whether texts are shown as they are: neither cut nor escaped."""
    return all(text is None or short(text) == text for text in texts)


def is_procps(call: Dict[str, Any]) -> bool:
    return not call["command"].endswith("systemd-sysctl")


# sysctl.d.


def _keys(facts: Facts, found: Assignments) -> List[str]:
    """The names that a line may reach; of a module that is not loaded, those that it may have."""
    names = kernel.FLAVOURS[facts["flavour"]]
    is_there = facts["state"] != "loadable"
    timeouts, switches = (facts["timeouts"], facts["switches"]) if is_there else (kernel.TIMEOUTS, kernel.SWITCHES)
    there = ("max", "buckets", "expect_max", *switches, *map(kernel.timeout_key, timeouts))
    keys = [names.prefix + name for name in there]
    keys += found["aliases"]
    return keys


def sysctl_files(lines: Sequence[sysctl.Assignment], facts: Facts, found: Assignments) -> Part:
    """What lines of files, in their order, say of these keys."""
    return _files(lines, _keys(facts, found), found)


def _files(lines: Sequence[sysctl.Assignment], keys: Sequence[str], found: Assignments) -> Part:
    files: Part = []
    for line in sysctl.concerned(lines, keys):
        if not is_told(line.path, line.file, line.key, line.value):
            found["untold"].append("sysctl")
            continue
        if not files or files[-1]["path"] != line.path:
            files.append({"path": line.path, "file": line.file, "lines": []})
        # Own lines need not be found again.
        text = "" if line.file == SYSCTL else short(line.text)
        files[-1]["lines"].append({"line": line.line, "key": line.key, "value": line.value, "text": text})
    return files


# The module.


def _is_spoken_of(host: "Host", module: str) -> bool:
    """Whether modprobe.d or the kernel's command line has the name of what is built in: else they need not be understood."""
    texts = [host.read(folder + "/" + name) for folder in sysctl.folders("modprobe.d") for name in host.list(folder)]
    texts.append(host.read(sysctl.COMMAND_LINE))
    # A backslash may join two lines amid the name.
    return any("\\" in text or module in text.replace("-", "_") for text in texts if text)


def _parameters(host: "Host", module: str, found: Assignments) -> None:
    from ..sources import modprobe

    texts = {path: host.read(path) or "" for path in modprobe.configuration_files(host)}
    found["modprobe"] = modprobe_lines(texts, module, found)
    for _offset, word in modprobe.words((host.read(sysctl.COMMAND_LINE) or "").split("\0")[0]):
        if word.strip('"') == "--" or _OF_MODULES.search(word):
            if is_told(word):
                found["command_line"].append(word)
            else:
                found["untold"].append("command_line")


_OF_MODULES = re.compile("conntrack|module[-_]blacklist|modules[-_]load")
_INITRAMFS = "/etc/initramfs-tools/modules"
# Those of dracut, SUSE's and Debian's last. A disk for one host alone has what stands below /etc.
_DRACUTS = ("/boot/initramfs-{0}.img", "/boot/initrd-{0}", "/boot/initrd.img-{0}")
_HOST_ONLY = re.compile(r"^[ \t]*hostonly=[\"']?(\w*)", re.M)


def modprobe_lines(texts: Mapping[str, str], module: str, found: Assignments) -> Part:
    """What files of modprobe.d, texts by path in their order, say of a module."""
    from ..sources import modprobe

    lines: Part = []
    rows = {path: text.split("\n") for path, text in texts.items()}
    for line in modprobe.concerned([line for path in texts for line in modprobe.parse(path, texts[path])], module):
        if line.command and not is_told(line.path, line.name, line.rest):
            found["untold"].append("modprobe")
            continue
        row = "" if line.path in MANAGED else short(rows[line.path][line.line - 1])
        lines.append(dict(line._asdict(), path=short(line.path), rest=short(line.rest), text=row))
    return lines


def _known(host: "Host", module: str, release: str, found: Assignments) -> None:
    from .loading import CONFIGURED, unusual

    given = unusual(found, module, kernel.version(release))
    if given:
        there = set(host.list("/sys/module/{0}/parameters".format(module)))
        if given - there:
            # Of a module that is not loaded, and what has no file in /sys.
            there |= _modules(host, release).parameters(module)
        # Neither may tell, as a file that is packed with zstd.
        found["parameters"] = sorted(given & (there or CONFIGURED))


def _modules(host: "Host", release: str) -> "Modules":
    # Few hosts name others than connection tracking itself.
    from ..sources import modprobe
    from .modules import Modules

    files = modprobe.configuration_files(host)
    return Modules(host, release, [line for path in files for line in modprobe.parse(path, host.read(path) or "")])


def _loads(host: "Host", module: str, facts: Facts, found: Assignments, names: "Optional[List[ByInit]]" = None) -> None:
    """What loads the module before systemd-sysctl runs, itself or with another that needs it; what udev has run then. ``names`` are
    those of another init, which reads files of its own."""
    from ..sources import modprobe

    release = facts["kernel"]["release"]
    command_line = " ".join(found["command_line"])
    modules: List[Modules] = []
    known: Dict[str, Named] = {}
    is_renamed = any(line["command"] == "alias" and line["rest"] != module for line in found["modprobe"])

    def named(name: str) -> Named:
        if name == module and not is_renamed:
            return name, True
        if len(name.split()) > 1:
            # With a parameter behind it it is no name to systemd-modules-load.
            return "", False
        if name not in known and len(known) == MOST:
            found["untold"].append("early")
            return "", False
        if name not in known:
            modules.extend([] if modules else [_modules(host, release)])
            known[name] = modules[0].early(name, module, command_line)
        return known[name]

    if names is None:
        for path in modprobe.files(host, sysctl.folders("modules-load.d"), ".conf"):
            found["early"] += early_file(path, host.read(path) or "", named, found)
    else:
        _by_init(names, named, found)
    packaged = "/usr/share/initramfs-tools/modules.d"
    for path in [_INITRAMFS, *(packaged + "/" + name for name in host.list(packaged))]:
        first = "\n".join((line.split() or [""])[0] for line in (host.read(path) or "").split("\n"))
        found["early"] += early_file(path, first, named, found)
    for _offset, name, value in modprobe.arguments(command_line):
        if name == "modules_load" and (names is None or found["init"]["name"] == "runit"):
            # All of it stands in the one line that there is.
            lines = early_file(kernel.COMMAND_LINE, (value or "").replace(",", "\n"), named, found)
            found["early"] += [dict(line, line=0) for line in lines]
    if _may_be_in_ramdisk(host, release, found):
        from .ramdisk import ramdisk

        disk = ramdisk(host, module, release, found, named)
        if disk:
            found["ramdisk"] = disk.told
        if disk and disk.modprobe is not None:
            disk.told["modprobe"] = [*modprobe_lines(disk.modprobe, module, found), *disk.options]
            disk.told["sysctl"] = sysctl_files(disk.sysctl, facts, found)
        _bound(found.get("ramdisk") or {})
    for path in modprobe.files(host, sysctl.folders("udev/rules.d"), ".rules"):
        found["udev"] += udev_file(path, host.read(path) or "", module, host.exists, found)


def _by_init(names: "List[ByInit]", named: Callable[[str], Named], found: Assignments) -> None:
    """Of what it loads before it applies settings, or may."""
    for path, text, first in names:
        lines = [line.split() for line in text.split("\n")]
        brought = early_file(path, "\n".join((words or [""])[0] for words in lines), named, found)
        bringing = [line["line"] for line in brought if line["brings"]]
        if first:
            found["early"] += brought
            if any(len(lines[number - 1]) > 1 for number in bringing):
                # Parameters there come after those of modprobe.d.
                found["untold"].append("early")
        elif first is None and bringing and found["init"]["before"] is None:
            found["init"]["before"] = path


def _may_be_in_ramdisk(host: "Host", release: str, found: Assignments) -> bool:
    """Whether it is to be looked at closely: few hosts have the module in there, but those of dracut once modules-load.d names it. Of
    those most are told of at once, by age: a disk that is older than that name has no module, and one newer than all its files is as they are.
    """
    lists = {line["path"] for line in found["early"] if line["brings"] and line["line"]}
    if any("/initramfs-tools/" in path for path in lists):
        return True
    if not host.exists("/usr/lib/dracut"):
        return host.exists("/etc/mkinitcpio.conf")
    texts = [host.read(path) or "" for path in ["/etc/dracut.conf", *_in(host, "/etc/dracut.conf.d")]]
    disk = next((path for path in (form.format(release) for form in _DRACUTS) if host.exists(path)), None)
    is_forced = any("force_drivers" in text for text in texts)
    if is_forced or not (lists and disk):
        return is_forced or bool(lists)
    then, *stamps = (host.mode(path) for path in (disk, *lists, *{line["path"] for line in found["modprobe"]}))
    is_newer = [bool(then and one and one.st_mtime > then.st_mtime) for one in stamps]
    if all(is_newer[: len(lists)]):
        return False
    texts += [host.read(path) or "" for path in _in(host, "/usr/lib/dracut/dracut.conf.d")]
    if any(is_newer) or {word for text in texts for word in _HOST_ONLY.findall(text)} != {"yes"}:
        return True
    found["ramdisk"] = {
        "path": disk,
        "renew": short("dracut -f --kver " + release),
        "copies": ["/etc/", "/usr/lib/", "/lib/"],
        "options": [],
        "modprobe": None,
        "sysctl": [],
        "told": True,
        "older": [],
    }
    return False


def _bound(disk: Dict[str, Any]) -> None:
    for name in ("options", "modprobe", "sysctl", "older"):
        lines = [line for entry in disk.get(name) or () for line in (entry["lines"] if name == "sysctl" else [entry])]
        if len(lines) > MOST:
            disk.update({name: [], "told": False})


def _in(host: "Host", folder: str) -> List[str]:
    return [folder + "/" + name for name in host.list(folder) if name.endswith(".conf")]


def early_file(path: str, text: str, named: Callable[[str], Named], found: Assignments) -> Part:
    """``named`` gives for a name the module, if it is to be told of, and whether that is connection tracking itself or brings it."""
    lines: Part = []
    for number, line in enumerate(text.split("\n"), 1):
        name = line.strip().replace("-", "_")
        module, brings = named(name) if name and name[0] not in "#;" else ("", False)
        if module:
            lines.append({"path": path, "line": number, "module": module, "brings": brings})
    if not is_told(path, *(line["module"] for line in lines)):
        found["untold"].append("early")
    return lines


def udev_file(path: str, text: str, module: str, exists: Callable[[str], bool], found: Assignments) -> Part:
    from ..sources import udev

    lines: Part = []
    for rule in udev.rules(text, module):
        call = rule.call
        said = (path, call.command, call.pattern, *call.prefixes, *call.files) if call else (path,)
        if len(said) > MOST_CALLED or not is_told(*said):
            found["untold"].append("udev")
            continue
        runs = any(map(exists, rule.paths))
        lines.append({"path": path, "line": rule.line, "resets": rule.resets, "call": _plain(call), "runs": runs})
    return lines


def _plain(call: "Optional[Sysctl]") -> Optional[Dict[str, Any]]:
    return dict(call._asdict(), prefixes=list(call.prefixes), files=list(call.files)) if call else None


def _installed(found: Assignments) -> List[Dict[str, Any]]:
    """The calls that lines of modprobe.d make in place of a load."""
    installs = [line["rest"] for line in found["modprobe"] if line["command"] == "install"]
    if not installs:
        return []
    from ..sources import udev

    calls = [udev.sysctl_call(given) for rest in installs for given in udev.steps(rest)]
    return [call._asdict() for call in calls if call]


# Who else writes, and whose it is.


def _owners(owned: Sequence["Owner"], keys: Sequence[str], found: Assignments) -> None:
    for owner in owned:
        if owner.at_boot:
            found["owners"].append(
                {
                    "name": owner.name,
                    "keys": {key: value for key, value in owner.keys.items() if key == HASHSIZE or key in keys},
                    "evidence": short(owner.evidence),
                    "path": owner.path and short(owner.path),
                    "line": owner.line,
                    "text": short(owner.text or ""),
                    "remedy": short(owner.remedy),
                    "yields": owner.yields,
                    "call": _plain(owner.call),
                }
            )


def _unloading(host: "Host", found: Assignments) -> None:
    # The controller reads no host.
    from ..sources.services import unloading

    for path, says in unloading(host):
        if says.line is not None:
            found["unloading"].append({"path": path, "line": says.line, "text": short(says.text)})


def _exposed(
    host: "Host", module: str, is_builtin: bool, owned: Sequence["Owner"], found: Assignments
) -> List[Exposed]:
    """Where the role writes itself, and of all files that say something of these keys, whichever of them wins."""
    first = [posixpath.dirname(path) for path in MANAGED] + [FIREWALLD, IPTABLES]
    named = {file["path"] for file in found["sysctl"] + found["called"]}
    named |= {line["path"] for part in ("modprobe", "early", "udev") for line in found[part] if not is_builtin}
    named |= {owner.path for owner in owned if owner.path}
    named |= set(BOOT) if "sized" in found else set()
    whose = {path: host.exposed(path) for path in [*first, *named]}
    found["nobodys"] = sorted(short(path) for path in named if whose[path])
    folders = () if is_builtin else ("modprobe.d", "modules-load.d", "udev/rules.d")
    for path in (
        home + "/" + name for folder in folders for home in sysctl.folders(folder) for name in host.list(home)
    ):
        # Asked first, since hardly any is: those need not be read once more.
        why = None if path in whose else host.exposed(path)
        if why and module in (host.read(path) or "").replace("-", "_"):
            whose[path] = why
    ranked = sorted(whose, key=lambda path: (path not in first, path))
    return [Exposed(path, whose[path] or "") for path in ranked if whose[path]]
