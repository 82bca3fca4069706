# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When inits other than systemd load modules and apply settings, and which files they read for that.

By their own scripts, in the order of owners/started.py. What is not understood is not told. Few hosts have one.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..files import MODULES_LOAD, SYSCTL
from ..host.door import Host
from ..owners import started
from ..owners.started import APPLIES, Script, Started, bare, loops, matching
from ..sources import sysctl
from ..sources.proc import shell_value

_OWN = MODULES_LOAD.rpartition("/")[0]
_CONF = "/etc/conf.d/modules"
_FUNCTIONS = ("/etc/rc.d/init.d/functions", "/etc/init.d/functions")
# Firewalls, and what makes their rules.
_FIREWALL = re.compile(
    r"\b(?:ip6?tables(?:-\w+)*|nft|ferm|shorewall6?|ufw|firehol|awall|nf_conntrack\w*|ip_conntrack\w*)\b"
)
_READER = re.compile(r"(?m)^[ \t]*(?:/\S*/)?modules-load\b(?!\.d)")
_PLACE = re.compile(r"(/[\w/]{0,80}modules-load\.d|/etc/modules(?![\w-]))")
_MODPROBE = re.compile(r"\bmodprobe\b[^\n;|>]{0,200}?\$[^\n;|>]{0,200}")
# More of them are not told.
_MOST = 200


class Reader(NamedTuple):
    """A script that loads the modules that files name."""

    script: Script
    at: int
    places: List[str]  # folders of *.conf, or files; of one name only that in the first folder
    hides: bool  # whether that is so
    words: bool  # whether a line has more than the name
    parameters: bool  # of the module: what follows the name
    obeys: bool  # blacklist


class Applier(NamedTuple):
    """A script that applies files of settings."""

    script: Script
    at: int
    files: Optional[List[str]]  # in their order; None where that is not understood
    each: bool  # a call for each
    ordered: bool


class Named(NamedTuple):
    path: str
    text: str  # a name on each line
    first: Optional[bool]  # whether they are loaded before settings are applied; None where nothing says so


def untold(name: str, why: str) -> Dict[str, Any]:
    """Facts of an init of which it is not known what a boot by it does."""
    return {
        "name": name,
        "known": False,
        "why": why,
        "applied": [],
        "planned": [],
        "each": False,
        "ordered": True,
        "globs": True,
        "obeys": True,
        "first": False,
        "before": None,
    }


def not_known(name: str) -> str:
    """Why, where its scripts are not there to be read."""
    return "when {0} loads modules and applies sysctl.d is not known".format(name)


def init(host: Host) -> Optional[Tuple[Dict[str, Any], List[Named]]]:
    """What a boot does, as facts, and what names modules for it; None where no init is seen."""
    boot = started.started(host)
    if not boot.init:
        return None
    told = untold(boot.init, "")
    if not boot.scripts:
        told["why"] = not_known(boot.init)
        return told, []
    texts = {script: bare(host.read(script.path))[script.begin : script.end] for script in boot.scripts}
    applier = next((one for script, text in texts.items() for one in [_applier(host, script, text)] if one), None)
    if applier is not None and (applier.files is None or len(applier.files) > _MOST):
        told["why"] = "{0}: what it applies with sysctl is not understood".format(applier.script.path)
        return told, []
    readers = [one for script, text in texts.items() for one in [_reader(script, text)] if one]
    told["known"] = True
    told["globs"] = not _is_busybox(host)
    told["obeys"] = all(reader.obeys for reader in readers)
    names: List[Named] = []
    if applier is None:
        told["why"] = "{0} runs nothing here that applies sysctl.d{1}".format(boot.init, _enable(boot, "sysctl"))
        return told, names
    with_own = _applier(host, applier.script, texts[applier.script], SYSCTL)
    planned = with_own.files if with_own else []
    told.update(applied=applier.files, planned=planned, each=applier.each, ordered=applier.ordered)
    for script, text in texts.items():
        order = _precedes(boot, script, 0, applier)
        for reader in readers:
            if reader.script == script:
                order = _precedes(boot, script, reader.at, applier)
                names += [Named(path, found, order) for path, found in _named(host, reader)]
        if script == applier.script:
            text, order = text[: applier.at], True
        if order is False or any(reader.script == script for reader in readers):
            continue
        loads = _loaded(text)
        if loads:
            names.append(Named(script.path, loads, order))
        elif _FIREWALL.search(text) and script != applier.script:
            told["before"] = told["before"] or script.path
    own = [reader for reader in readers if _OWN in reader.places]
    told["first"] = _precedes(boot, own[0].script, own[0].at, applier) if own else False
    told["why"] = _why(boot, told, own, readers, applier)
    return told, names


def _why(boot: Started, told: Dict[str, Any], own: List[Reader], readers: List[Reader], applier: Applier) -> str:
    """What keeps the role's own files from being all that a boot needs."""
    here = applier.script.path
    if SYSCTL not in told["planned"]:
        return "{0}, which applies settings, does not read {1}".format(here, SYSCTL)
    if not own:
        said = "{0} runs nothing here that reads {1}".format(boot.init, MODULES_LOAD)
        if readers:
            return "{0}: have the module named in {1}".format(said, ", ".join(readers[0].places))
        return said + (_enable(boot, "modules") or ": let a script load the module before {0}".format(here))
    there = own[0].script.path
    if told["first"] is None:
        said = "{0} does not say whether {1}, which loads modules, has ended when {2} applies settings".format(
            boot.init, there, here
        )
        if boot.init == started.SYSVINIT:
            said += "; {0} in Should-Start of a header in /etc/insserv/overrides/{1}, and insserv {1}, do".format(
                there.rpartition("/")[2], here.rpartition("/")[2]
            )
        if boot.init == started.OPENRC:
            said += '; rc_after="{0}" in {1} does'.format(there.rpartition("/")[2], here.replace("init.d", "conf.d"))
        return said
    return "" if told["first"] else "{0} loads modules after {1} has applied settings".format(there, here)


def _enable(boot: Started, service: str) -> str:
    return ": rc-update add {0} boot".format(service) if boot.init == started.OPENRC else ""


def _precedes(boot: Started, script: Script, at: int, applier: Applier) -> Optional[bool]:
    return at < applier.at if script == applier.script else boot.precedes(script, applier.script)


# Modules.


def _reader(script: Script, text: str) -> Optional[Reader]:
    program = _READER.search(text)
    if program:
        places = [home + "/modules-load.d" for home in ("/etc", "/run", "/usr/lib")]
        return Reader(script, program.start(), places, True, False, False, True)
    call = _MODPROBE.search(text)
    places = list(dict.fromkeys(_PLACE.findall(text)))
    if not call or not places:
        return None
    # A loop over patterns of shells reads every file.
    hides = re.search(r"modules-load\.d/\*", text) is None
    parameters = len(re.findall(r"\$", call.group())) > 1
    obeys = re.search(r"\s(?:-\w*b\w*|--use-blacklist)\b", call.group()) is not None
    if "$modules" in text:
        places.append(_CONF)
    # What is in /etc wins, wherever the script has it.
    ranked = sorted(places, key=lambda place: _HOMES.index(place) if place in _HOMES else len(_HOMES))
    return Reader(script, call.start(), ranked, hides, True, parameters, obeys)


_HOMES = sysctl.folders("modules-load.d")


def _named(host: Host, reader: Reader) -> List[Tuple[str, str]]:
    from ..sources import modprobe

    folders = [place for place in reader.places if place.endswith(".d")]
    paths = (
        modprobe.files(host, folders, ".conf")
        if reader.hides
        else [path for folder in folders for path in matching(host, folder + "/*.conf")]
    )
    paths += [place for place in reader.places if place not in folders and place != _CONF]
    found = [(path, host.read(path) or "") for path in paths]
    if _CONF in reader.places:
        text = host.read(_CONF)
        found.append((_CONF, (shell_value(text, "modules") or "").replace(" ", "\n")))
    if not reader.words:
        # With anything behind it, it is no name.
        return [
            (path, "\n".join("" if len(line.split()) > 1 else line for line in text.split("\n")))
            for path, text in found
        ]
    return [(path, "\n".join(_name(line, reader.parameters) for line in text.split("\n"))) for path, text in found]


def _loaded(text: str) -> str:
    """The modules that a script loads by their names, each with its parameters."""
    if "modprobe" not in text:
        return ""
    # Few scripts do.
    from ..owners.commands import commands

    found = []
    for line in text.split("\n"):
        for command in commands(line) if "modprobe" in line else ():
            words = [word.text for word in command.words]
            if words and words[0].endswith("modprobe") and all(word.plain for word in command.words):
                names = [word for word in words[1:] if not word.startswith("-")]
                found += names if any(re.match("-[a-z]*a|--all", word) for word in words) else [" ".join(names)]
    return "\n".join(found) if any(found) else ""


def _name(line: str, parameters: bool) -> str:
    """The name on a line, and parameters where they are handed on."""
    words = line.split("#")[0].split()
    return " ".join(words if parameters else words[:1])


# Settings. ``own`` is a file of which it is asked when it would be applied, if it were there.


def _applier(host: Host, script: Script, text: str, own: str = "") -> Optional[Applier]:
    found = APPLIES.search(text)
    if not found:
        return None
    at = found.start()
    if "vsysctl.d" in text:
        folders = [home + "/sysctl.d" for home in ("/run", "/etc", "/usr/local/lib", "/usr/lib")]
        return Applier(script, at, _merged(host, folders, own) + [sysctl.SYSCTL_CONF], True, True)
    sources = re.search(r"SYSCTL_SOURCES=\"([^\"\n]*)\"", text)
    if sources and re.search(r"\bfind \$SYSCTL_SOURCES\b", text):
        # In the order in which they lie on the disk.
        places = [word.rstrip("/") for word in sources.group(1).split()]
        files = [place + "/" + name for place in places for name in _names(host, place, own) if name.endswith(".conf")]
        return Applier(script, at, files + [place for place in places if place.endswith(".conf")], True, False)
    if "--system" in found.group():
        if _is_busybox(host):
            return Applier(script, at, [], False, True)
        folders = list(sysctl.folders("sysctl.d"))
        return Applier(script, at, _merged(host, folders, own) + [sysctl.SYSCTL_CONF], False, True)
    if found.group() == "apply_sysctl":
        functions = next(filter(None, map(host.read, _FUNCTIONS)), "")
        text = started.function(bare(functions), "apply_sysctl")
    return Applier(script, at, _applied(host, text, own), True, True)


def _applied(host: Host, text: str, own: str) -> Optional[List[str]]:
    """Of sysctl -p with files, and loops around it, in their order."""
    calls: List[Tuple[int, List[str]]] = []
    spans: List[Tuple[int, int]] = []
    for loop in loops(text):
        used = r"\$\{?" + loop.variable + r"\}?(?![\w#])"
        applies = APPLIES.search(loop.body)
        if not applies:
            continue
        if not re.search(used, loop.body[applies.start() :].split("\n")[0]):
            return None
        hidden = re.findall(r"\[ -[ef] (/[\w/.]+)/\"?\$\{{{0}##\*/\}}\"? \]".format(loop.variable), loop.body)
        calls.append((loop.begin, _matching(host, loop.words, hidden, own)))
        spans.append((loop.begin, loop.end))
    for found in APPLIES.finditer(text):
        if any(begin <= found.start() < end for begin, end in spans):
            continue
        words = re.split(r"[;|&>]|\s\d?>", text[found.end() :].split("\n")[0])[0]
        if "$" in words:
            return None
        files = _matching(host, words, [], own) if words.strip() else [sysctl.SYSCTL_CONF]
        calls.append((found.start(), files))
    paths = [path for _at, called in sorted(calls) for path in called]
    # The last time counts.
    return list(dict.fromkeys(paths[::-1]))[::-1]


def _matching(host: Host, words: str, hidden: List[str], own: str) -> List[str]:
    """As a shell has it, but for names that one of some folders has, too."""
    found: List[str] = []
    for word in words.replace("\\\n", " ").split():
        paths = matching(host, word)
        if own and word.strip("\"'") in (own.rpartition("/")[0] + suffix for suffix in ("/*.conf", "/*")):
            paths = sorted(set(paths) | {own})
        for path in paths:
            folder, _slash, name = path.rpartition("/")
            if not any(name in _names(host, other, own) for other in hidden if other != folder):
                found.append(path)
    return found


def _merged(host: Host, folders: Sequence[str], own: str) -> List[str]:
    """By name, of each the one in the first folder."""
    found: Dict[str, str] = {}
    for folder in folders:
        for name in _names(host, folder, own):
            if name.endswith(".conf") and not name.startswith("."):
                found.setdefault(name, folder + "/" + name)
    return [found[name] for name in sorted(found, key=lambda name: name.encode("utf-8", "surrogateescape"))]


def _names(host: Host, folder: str, own: str) -> List[str]:
    names = list(host.list(folder))
    there, _slash, name = own.rpartition("/")
    return names + [name] * (folder == there and name not in names)


def _is_busybox(host: Host) -> bool:
    return any(
        (host.link(path) or "").endswith("busybox") for path in ("/sbin/sysctl", "/usr/sbin/sysctl", "/bin/sysctl")
    )
