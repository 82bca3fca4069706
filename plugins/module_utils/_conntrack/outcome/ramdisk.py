# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The initial RAM disk of the kernel that runs, where it loads the module: with copies of modprobe.d that are as old as it is.

What it has is known from the files that it is made of, as long as none of them is newer. Else it is opened; one that cannot be unpacked
here is judged by its age. What no file brings into it any more is not looked for.

Sources: mkinitramfs and hook-functions of initramfs-tools 0.142, dracut and its 00systemd, 90kernel-modules and lsinitrd of dracut 059,
install/systemd and install/modconf of mkinitcpio 39.
"""

import posixpath
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..shown import short
from ..sources.sysctl import Assignment, parse
from . import cpio

if TYPE_CHECKING:
    from ..host.door import Host

# Of one variable in a file.
_MOST_LINES = 200
_EVERYWHERE = ("/etc/", "/usr/lib/", "/lib/")
_OF_PACKAGES = ("/usr/lib/", "/lib/")
_INITRAMFS_TOOLS = ("/etc/initramfs-tools/modules", "/usr/share/initramfs-tools/modules.d")
# A variable of bash: NAME=, NAME+=, a list in quotes or in brackets.
_VARIABLE = r"""^[ \t]*(?:export[ \t]+)?{0}\+?=[ \t]*(?:\(([^)]{{0,2000}})\)|"([^"]{{0,2000}})"|'([^']{{0,2000}})'|([^\s#;]*))"""
# What is looked at in a disk. Before the merge of /usr its lib stood at the top.
_WANTED = re.compile(
    r"/(etc|run|usr/local/lib|(usr/)?lib)/((modprobe|modules-load|sysctl)\.d/[^/]+\.conf)|/etc/sysctl\.conf"
    r"|/conf/modules|/etc/modules|/etc/cmdline\.d/20-force_drivers\.conf|/config"
)


# As assignments.py has them, which asks this one.
Assignments = Dict[str, Any]
Part = List[Dict[str, Any]]
Named = Callable[[str], Tuple[str, bool]]


class Tool(NamedTuple):
    """What makes initial RAM disks: by what a host is known to have it, and what makes that of one kernel anew."""

    mark: str
    words: Tuple[str, ...]


INITRAMFS_TOOLS = Tool("/usr/sbin/mkinitramfs", ("update-initramfs", "-u", "-k", "{0}"))
DRACUT = Tool("/usr/lib/dracut", ("dracut", "-f", "--kver", "{0}"))
MKINITCPIO = Tool("/etc/mkinitcpio.conf", ("mkinitcpio", "-P"))
_TOOLS = (INITRAMFS_TOOLS, DRACUT, MKINITCPIO)


class _Made(NamedTuple):
    """Of what a disk that were made now would be made."""

    lines: Part  # that bring the module into it, as those of assignments["early"]
    options: Part  # that it is loaded with besides those of modprobe.d
    copies: Tuple[str, ...]  # where the files of modprobe.d lie that it has


def tool(host: "Host") -> Optional[Tool]:
    return next((one for one in _TOOLS if host.exists(one.mark)), None)


def renewal(made_by: Tool, release: str) -> List[str]:
    return [word.format(release) for word in made_by.words]


def places(host: "Host", release: str) -> Iterator[str]:
    """Where the disk of a kernel may lie."""
    for form in ("/boot/initrd.img-{0}", "/boot/initramfs-{0}.img", "/boot/initrd-{0}"):
        yield form.format(release)
    for folder in ("/usr/lib/modules", "/lib/modules"):
        for name in ("initrd", "initramfs.img"):
            yield "{0}/{1}/{2}".format(folder, release, name)
    # As the boot loader specification has it, and as Arch's kernels say their names.
    entry = (host.read("/etc/machine-id") or "").strip()
    for folder in ("/boot", "/efi", "/boot/efi") if re.fullmatch("[0-9a-f]{32}", entry) else ():
        yield "{0}/{1}/{2}/initrd".format(folder, entry, release)
    base = (host.read("/usr/lib/modules/{0}/pkgbase".format(release)) or "").strip()
    if re.fullmatch(r"[\w.+-]{1,99}", base):
        yield "/boot/initramfs-{0}.img".format(base)


class Disk(NamedTuple):
    """The part ``ramdisk`` of the assignments, and what was read in a disk that was opened: texts of modprobe.d in their order and
    lines of sysctl.d, none where it was not."""

    told: Dict[str, Any]
    modprobe: Optional[Dict[str, str]] = None
    sysctl: Sequence[Assignment] = ()
    options: Sequence[Dict[str, Any]] = ()  # that it loads the module with besides


def ramdisk(host: "Host", module: str, release: str, found: Assignments, named: Named) -> Optional[Disk]:
    """None where it does not load the module. To ``early`` is added what the disk alone has, and from it goes what it has not."""
    made_by = tool(host)
    if not made_by or not release:
        return None
    if made_by is not INITRAMFS_TOOLS:
        # Its lists stay behind when another tool takes its place.
        found["early"] = [line for line in found["early"] if "/initramfs-tools/" not in line["path"]]
    made = _MADE[made_by](host, module, found, named)
    if not made.lines:
        return None
    found["early"] += [line for line in made.lines if line not in found["early"]]
    path = next((path for path in places(host, release) if host.exists(path)), None)
    if path is None:
        return None
    lists = {line["path"] for line in made.lines}
    later = _newer(host, path, lists)
    copied = {line["path"] for line in found["modprobe"] if line["path"].startswith(made.copies)}
    told: Dict[str, Any] = {
        "path": path,
        "renew": short(" ".join(renewal(made_by, release))),
        "copies": list(made.copies),
        "options": made.options,
        "modprobe": None,
        "sysctl": [],
        "told": True,
        "older": sorted({*later, *_newer(host, path, copied)}),
    }
    if not told["older"]:
        return Disk(told)
    inside = _opened(host, path)
    if inside is None and len(later) < len(lists):
        return Disk(dict(told, told=False, modprobe=[]))
    options: Part = []
    # Each line is asked, for what the module is loaded with.
    if inside and any([*_named(inside, path, named, module, options)]):
        return Disk(told, *_read(inside, path), options)
    # What a disk does not have comes with none. systemd has files of its own.
    found["early"] = [line for line in found["early"] if line not in made.lines or _of_systemd(line["path"])]
    return None


def _newer(host: "Host", path: str, others: Iterable[str]) -> List[str]:
    return [other for other in others if _stamp(host, other) > _stamp(host, path)]


def _stamp(host: "Host", path: str) -> float:
    """When it was last written; 0 for what is not there."""
    found = host.mode(path)
    return found.st_mtime if found else 0.0


def _of_systemd(path: str) -> bool:
    return posixpath.basename(posixpath.dirname(path)) == "modules-load.d"


# What each tool makes a disk of.


def _by_initramfs_tools(host: "Host", module: str, found: Assignments, named: Named) -> _Made:
    lines: Part = []
    options: Part = []
    first, folder = _INITRAMFS_TOOLS
    for path in [first] + [folder + "/" + name for name in host.list(folder)]:
        # As it reads them: what begins with a blank is no comment.
        for number, line in enumerate((host.read(path) or "").split("\n"), 1):
            if line and line[0] != "#":
                lines += _brings(path, number, line, named, module, options)
    return _Made(lines, options, _EVERYWHERE)


def _by_dracut(host: "Host", module: str, found: Assignments, named: Named) -> _Made:
    texts = {path: host.read(path) or "" for path in dracut_files(host)}
    lines: Part = []
    for path, text in texts.items():
        for number, words in _variable(text, "force_drivers"):
            for word in words:
                lines += _brings(path, number, word, named, module, [])
    is_hosts = host_only(texts.values())
    copies = _EVERYWHERE if is_hosts else _OF_PACKAGES
    return _Made(
        lines
        + [
            line
            for line in found["early"]
            if line["brings"] and _of_systemd(line["path"]) and line["path"].startswith(copies)
        ],
        [],
        copies,
    )


def dracut_files(host: "Host") -> List[str]:
    """In its order."""
    folders = ("/etc/dracut.conf.d", "/usr/lib/dracut/dracut.conf.d")
    names: Dict[str, str] = {}
    for folder in folders:
        for name in host.list(folder):
            if name.endswith(".conf"):
                names.setdefault(name, folder + "/" + name)
    return ["/etc/dracut.conf"] + [names[name] for name in sorted(names)]


def host_only(texts: Any) -> bool:
    """Whether a disk of dracut's has what stands below /etc: the last word counts."""
    said = [words for text in texts for _line, words in _variable(text, "hostonly")]
    return bool(said) and bool(said[-1]) and said[-1][0] != "no"


def _by_mkinitcpio(host: "Host", module: str, found: Assignments, named: Named) -> _Made:
    folder = MKINITCPIO.mark + ".d"
    lines: Part = []
    hooks: List[str] = []
    for path in [MKINITCPIO.mark] + [folder + "/" + name for name in host.list(folder) if name.endswith(".conf")]:
        text = host.read(path) or ""
        for number, words in _variable(text, "MODULES"):
            for word in words:
                # With ? it may be missing.
                lines += _brings(path, number, word.rstrip("?"), named, module, [])
        hooks = next((words for _line, words in reversed(list(_variable(text, "HOOKS")))), hooks)
    return _Made(lines, [], _EVERYWHERE if "modconf" in hooks else ())


_MADE: Dict[Tool, Callable[["Host", str, Assignments, Named], _Made]] = {
    INITRAMFS_TOOLS: _by_initramfs_tools,
    DRACUT: _by_dracut,
    MKINITCPIO: _by_mkinitcpio,
}


def _variable(text: str, name: str) -> Iterator[Tuple[int, List[str]]]:
    """Each line that gives a variable of bash some words."""
    for one in islice(re.finditer(_VARIABLE.format(name), text, re.M), _MOST_LINES):
        words = next((group for group in one.groups() if group is not None), "")
        yield text.count("\n", 0, one.start()) + 1, words.replace('"', " ").replace("'", " ").split()


def _brings(path: str, number: int, said: str, named: Named, module: str, options: Part) -> Iterator[Dict[str, Any]]:
    """The line if it brings the module. What stands behind a name there is a parameter of that one."""
    words = said.split()
    one, brings = named(words[0].replace("-", "_")) if words else ("", False)
    if not brings or short(path + one) != path + one:
        return
    if one == module and len(words) > 1 and short(said) == said:
        options.append(
            {
                "path": path,
                "line": number,
                "command": "options",
                "name": module,
                "rest": " ".join(words[1:]),
                "text": said,
            }
        )
    yield {"path": path, "line": number, "module": one, "brings": True}


# What is in a disk.


def _opened(host: "Host", path: str) -> Optional[Dict[str, str]]:
    """Text by path; None for a disk that cannot be opened, or unpacked here."""
    try:
        inside = cpio.files(host.chunks(path), lambda name: _WANTED.fullmatch(name) is not None)
    except cpio.Unreadable:
        return None
    return {name: content.decode("utf-8", "replace") for name, content in inside.items()} or None


def _named(inside: Dict[str, str], disk: str, named: Named, module: str, options: Part) -> Iterator[bool]:
    """Whether what loads modules in there does load this one, by each line of it."""
    for name, text in inside.items():
        lines: List[Tuple[int, str]] = list(enumerate(text.split("\n"), 1))
        if name == "/config":
            lines = [(number, word) for number, words in _variable(text, "EARLYMODULES") for word in words]
        elif name.startswith("/etc/cmdline.d"):
            lines = [(number, line.partition("rd.driver.pre=")[2]) for number, line in lines]
        elif _of_systemd(name) or name == "/etc/modules":
            # Debian has a link to the latter. To systemd a name with anything behind it is none.
            lines = [(number, line) for number, line in lines if len(line.split()) == 1]
        elif name != "/conf/modules":
            continue
        for number, line in lines:
            if line.strip() and line.strip()[0] not in "#;":
                yield any(_brings(disk + ":" + name, number, line, named, module, options))


def _read(inside: Dict[str, str], disk: str) -> Tuple[Dict[str, str], List[Assignment]]:
    texts = {disk + ":" + path: inside[path] for path in _ordered(inside, "modprobe.d")}
    lines: List[Assignment] = []
    for path in _ordered(inside, "sysctl.d") + ["/etc/sysctl.conf"]:
        lines += parse(disk + ":" + path, inside.get(path, ""), disk + ":" + path)
    return texts, lines


def _ordered(inside: Dict[str, str], folder: str) -> List[str]:
    """The files of a folder as they are read: by name, of one name the first."""
    names: Dict[str, str] = {}
    for home in ("/etc/", "/run/", "/usr/local/lib/", "/usr/lib/", "/lib/"):
        for path in inside:
            if posixpath.dirname(path) == home + folder:
                names.setdefault(posixpath.basename(path), path)
    return [names[name] for name in sorted(names)]
