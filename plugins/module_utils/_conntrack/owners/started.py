# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which scripts a boot runs, and in what order, where systemd is not the init: OpenRC, runit, sysvinit, BusyBox init.

Read as each of them reads its own files, which docs/owners.md lists. Few hosts have one, so that this is imported late.
"""

import posixpath
import re
from fnmatch import fnmatchcase
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ..host.door import Host
from ..sources.proc import shell_value

OPENRC, RUNIT, SYSVINIT, BUSYBOX = "OpenRC", "runit", "sysvinit", "BusyBox init"
_CALLED = ("/etc/rc.d/rc.local", "/etc/rc.local")
# Scripts in all, and of scripts that run scripts.
_MOST, _DEEPEST = 500, 4

_COMMENT = re.compile(r"(?m)^[ \t]*#.*$|(?<=\s)#[ \t].*$")
# Of a longer script only its beginning is read, and of a line's words and a call's.
_LONGEST = 65536
_FOR = re.compile(r"\bfor\s{1,9}(\w+)\s{1,9}in\s")
_WORDS = re.compile(r"[^;\n\\]{0,4000}(?:\\.[^;\n\\]{0,4000}){0,99}", re.S)
_DO = re.compile(r"[;\n]\s*do\b")
_END = re.compile(r"\bdone\b")
_SYSCTL = re.compile(r"(?m)^(\w+)=[\"']?(?:/\S*/)?sysctl[\"']?[ \t]*$")
# Commands that apply files of settings; apply_sysctl is a function of Enterprise Linux 6.
APPLIES = re.compile(r"\b(?:apply_sysctl\b|sysctl\b[^\n;|&]{0,200}?[ \t](?:--system|--load|-[a-zA-Z]*[pf])(?![\w-]))")
_RUNLEVELS = ("sysinit", "boot", "default")
_TRUE = ("yes", "y", "true", "on", "1")
_RELATIONS = ("need", "use", "want", "after", "before", "provide")


class Script(NamedTuple):
    """One, or the part of one before or after what it runs in between."""

    path: str
    begin: int
    end: int
    stage: int = 0  # one of a later stage runs after all of those before


class Started(NamedTuple):
    init: str  # its name
    scripts: List[Script]  # as they are run, each once
    # By path, those that each waits for within its stage; None where one runs after the other as they stand in the list.
    after: Optional[Dict[str, Set[str]]]

    def precedes(self, first: Script, second: Script) -> Optional[bool]:
        """Whether the first has ended when the second begins; None where nothing says so."""
        if first.stage != second.stage:
            return first.stage < second.stage
        if self.after is None or first.path == second.path:
            return self.scripts.index(first) < self.scripts.index(second)
        if self._waits(second.path, first.path):
            return True
        return False if self._waits(first.path, second.path) else None

    def _waits(self, one: str, other: str) -> bool:
        seen: Set[str] = set()
        pending = [one]
        while pending:
            for before in (self.after or {}).get(pending.pop(), set()) - seen:
                seen.add(before)
                pending.append(before)
        return other in seen


def started(host: Host) -> Started:
    """Where the init is not known, no scripts."""
    program = host.link("/sbin/init") or host.link("/proc/1/exe") or ""
    name = posixpath.basename(program) or (host.read("/proc/1/comm") or "").strip()
    if name.startswith("runit"):
        later = _expanded(host, "/etc/runit/2") + _whole(host, _runit_services(host))
        return _in_turn(RUNIT, [_expanded(host, "/etc/runit/1"), later])
    commands, level = _inittab(host)
    if name == "busybox" and not commands:
        # Compiled in, where there is no inittab.
        commands = ["/etc/init.d/rcS"]
    if name == "openrc-init" or any(_is_openrc(host, command) for command in commands):
        return _openrc(host)
    if not commands and host.exists("/etc/rc.d/rc.sysinit"):
        # Upstart of Enterprise Linux 6, which runs what inittab had.
        commands = ["/etc/rc.d/rc.sysinit"]
    if not commands:
        # Empty where there is none.
        return Started(name, [], None)
    first = [one for command in commands for one in _expanded(host, command.split()[0])]
    folders = [folder.format(level) for folder in ("/etc/rc{0}.d", "/etc/rc.d/rc{0}.d") if level]
    # Red Hat's are links from the one place to the other.
    later = _whole(host, next(filter(None, (_links(host, folder) for folder in folders)), []))
    return _parallel(host, first, later) or _in_turn(BUSYBOX if name == "busybox" else SYSVINIT, [first, later])


def scripts(host: Host) -> Optional[Dict[str, bool]]:
    """Those that may set keys of their own at a boot, and whether they do after sysctl.d is applied; None where no init is known."""
    boot = started(host)
    if not boot.scripts:
        return None
    texts = {script: bare(host.read(script.path))[script.begin : script.end] for script in boot.scripts}
    applier = next((script for script, text in texts.items() if APPLIES.search(text)), None)
    found: Dict[str, bool] = {}
    for script, text in texts.items():
        if script == applier:
            continue
        is_later = applier is None or boot.precedes(applier, script) is True
        found[script.path] = is_later or found.get(script.path, False)
        for path in _CALLED:
            if path in text and host.is_executable(path):
                found[path] = is_later or found.get(path, False)
        if "local.d" in text:
            for path in matching(host, "/etc/local.d/*.start"):
                if host.is_executable(path):
                    found[path] = is_later
    return found


def bare(text: Optional[str]) -> str:
    """A script without its comments, and with sysctl where a variable stands for it."""
    found = _COMMENT.sub("", (text or "")[:_LONGEST])
    named = _SYSCTL.search(found)
    return re.sub(r"\$(?:{0}\b|\{{{0}\}})".format(named.group(1)), "sysctl", found) if named else found


def matching(host: Host, words: str) -> List[str]:
    """The files that words of a shell stand for, in the order of the shell."""
    found: List[str] = []
    for word in words.replace("\\\n", " ").split():
        folder, _slash, name = word.strip("\"'").rpartition("/")
        if not re.search(r"[*?\[]", name):
            found.append(folder + "/" + name)
        elif "$" not in word:
            found += ["{0}/{1}".format(folder, one) for one in sorted(host.list(folder)) if _fits(one, name)]
    return found


class Loop(NamedTuple):
    begin: int
    end: int
    variable: str
    words: str
    body: str


def loops(text: str) -> Iterator[Loop]:
    """Those of a script, but for loops within loops."""
    at = 0
    for head in _FOR.finditer(text):
        words = _WORDS.match(text, head.end()) if head.start() >= at else None
        begin = _DO.match(text, words.end()) if words else None
        if not words or not begin:
            continue
        end = _END.search(text, begin.end())
        if not end:
            return
        yield Loop(head.start(), end.end(), head.group(1), words.group(), text[begin.end() : end.start()])
        at = end.end()


def function(text: str, name: str) -> str:
    """What stands in one of a script, whose brace is the first of a line."""
    begin = re.search(r"^{0}\s*\(\)".format(name), text, re.M)
    end = re.compile(r"^\}", re.M).search(text, begin.end()) if begin else None
    return text[begin.end() : end.start()] if begin and end else ""


def _fits(name: str, pattern: str) -> bool:
    return not name.startswith(".") and fnmatchcase(name, pattern)


def _whole(host: Host, paths: Sequence[str]) -> List[Script]:
    return [Script(path, 0, len(bare(host.read(path)))) for path in paths]


def _in_turn(init: str, stages: Sequence[List[Script]]) -> Started:
    scripts: Dict[Script, None] = {}
    for stage, found in enumerate(stages):
        for script in found[:_MOST]:
            scripts.setdefault(script._replace(stage=stage))
    return Started(init, list(scripts), None)


def _expanded(host: Host, path: str, depth: int = 1) -> List[Script]:
    """A script in parts, and between them the scripts that it runs."""
    text = bare(host.read(path))
    found: List[Script] = []
    begin = 0
    for start, end, paths in _runs(host, text) if depth < _DEEPEST else ():
        found.append(Script(path, begin, start))
        found += [one for each in paths for one in _expanded(host, each, depth + 1)]
        begin = end
    return found + [Script(path, begin, len(text))] if text else []


def _runs(host: Host, text: str) -> Iterator[Tuple[int, int, List[str]]]:
    """Where a script runs others, and which."""
    of_runlevel = re.search(r"\brc\s+S\b|/etc/rcS\.d/S|/lib/init/rcS", text)
    of_artix = re.search(r"\brc-sysinit\b", text)
    if of_runlevel:
        yield of_runlevel.start(), of_runlevel.end(), _links(host, "/etc/rcS.d")
    elif of_artix:
        # The links are named NUMBER-NAME, and what is run is the service.
        names = [name.partition("-")[2] for name in sorted(host.list("/etc/rc/sysinit"))]
        yield of_artix.start(), of_artix.end(), ["/usr/lib/rc/sv.d/" + name for name in names]
    else:
        for loop in loops(text):
            runs = r"(?:^|[\n;]|&&)\s*(?:(?:\.|source|exec)\s+)?\"?\$\{{?{0}\}}?\"?(?=[\s;)]|$)".format(loop.variable)
            if re.search(runs, loop.body):
                yield loop.begin, loop.end, matching(host, loop.words)


def _links(host: Host, folder: str) -> List[str]:
    """The scripts that S links of a runlevel's folder lead to."""
    found = []
    for name in sorted(host.list(folder)):
        if name.startswith("S"):
            path = "{0}/{1}".format(folder, name)
            target = host.link(path)
            found.append(posixpath.normpath(posixpath.join(folder, target)) if target else path)
    return found


def _runit_services(host: Host) -> List[str]:
    folders = ("/etc/runit/runsvdir/default", "/etc/service")
    return ["{0}/{1}/run".format(folder, name) for folder in folders for name in sorted(host.list(folder))]


def _inittab(host: Host) -> Tuple[List[str], str]:
    """What is run before all else, and the runlevel."""
    commands: List[str] = []
    level = ""
    for line in bare(host.read("/etc/inittab")).split("\n"):
        parts = line.strip().split(":", 3)
        if len(parts) == 4 and parts[2] == "sysinit" and parts[3].strip():
            commands.append(parts[3].strip().lstrip("-"))
        elif len(parts) == 4 and parts[2] == "initdefault":
            level = parts[1].strip()[:1]
    return commands, level


# Side by side.


def _parallel(host: Host, first: List[Script], later: List[Script]) -> Optional[Started]:
    """What insserv has written for startpar, where Debian's rc uses it."""
    folder = "/etc/init.d/"
    texts = [host.read(folder + name) for name in (".depend.boot", ".depend.start", ".depend.stop")]
    rc = bare(host.read("/lib/init/rc") or host.read("/etc/init.d/rc"))
    words = (host.read("/proc/cmdline") or "").split()
    if "startpar" not in rc or not all(texts) or host.exists(folder + ".legacy-bootordering"):
        return None
    if "concurrency=none" in words:
        return None
    after = {
        folder + name.strip(): {folder + other for other in others.split()}
        for text in texts[:2]
        for line in (text or "").split("\n")
        for name, colon, others in [line.partition(":")]
        if colon
    }
    return _in_turn(SYSVINIT, [first, later])._replace(after=after)


# OpenRC.


def _is_openrc(host: Host, command: str) -> bool:
    return re.search(r"\bopenrc\b", command) is not None or "/openrc sysinit" in (host.read(command.split()[0]) or "")


def _openrc(host: Host) -> Started:
    """The services of each runlevel, what they need and want among them, and what each says that it runs after. Side by side it
    only waits for what it needs: of the rest what is on its way by then."""
    configuration = host.read("/etc/rc.conf")
    is_parallel = (shell_value(configuration, "rc_parallel") or "").lower() in _TRUE
    services: Dict[str, int] = {}
    said: Dict[str, Dict[str, List[str]]] = {}
    listed: Dict[str, int] = {}
    for stage, level in enumerate(_RUNLEVELS):
        pending = sorted(host.list("/etc/runlevels/" + level))
        listed.update((name, stage) for name in pending if name not in services)
        while pending and len(services) < _MOST:
            name = pending.pop(0)
            if name in services or not host.exists("/etc/init.d/" + name):
                continue
            services[name] = stage
            said[name] = _depend(host, name, configuration)
            pending += said[name]["need"] + said[name]["want"]
    providers: Dict[str, Set[str]] = {name: {name} for name in services}
    for name in services:
        for virtual in said[name]["provide"]:
            providers.setdefault(virtual, set()).add(name)
    after: Dict[str, Set[str]] = {"/etc/init.d/" + name: set() for name in services}
    for name in services:
        for other in said[name]["need"]:
            after["/etc/init.d/" + name] |= {"/etc/init.d/" + one for one in providers.get(other, ())}
    # All else is an order among those of one runlevel, where they start one after the other and nothing has started one before.
    for name in [] if is_parallel else listed:
        soft = [one for relation in ("use", "want", "after") for one in said.get(name, {}).get(relation, ())]
        pairs = [(name, one) for other in soft for one in providers.get(other, ())]
        pairs += [(one, name) for other in said.get(name, {}).get("before", ()) for one in providers.get(other, ())]
        for later, earlier in pairs:
            if later in listed and listed[later] == listed.get(earlier):
                after["/etc/init.d/" + later].add("/etc/init.d/" + earlier)
    scripts = _whole(host, ["/etc/init.d/" + name for name in services])
    staged = [script._replace(stage=stage) for script, stage in zip(scripts, services.values())]
    return Started(OPENRC, staged, after)


def _depend(host: Host, name: str, configuration: Optional[str]) -> Dict[str, List[str]]:
    """What stands in its function depend, but under a condition, and what its configuration adds."""
    found: Dict[str, List[str]] = {relation: [] for relation in _RELATIONS}
    said = function(bare(host.read("/etc/init.d/" + name)), "depend")
    depth = 0
    for line in said.split("\n"):
        words = line.split()
        if not words:
            continue
        depth += (words[0] in ("if", "case")) - (words[0] in ("fi", "esac"))
        if words[0] in _RELATIONS and not depth:
            found[words[0]] += words[1:]
    own = host.read("/etc/conf.d/" + name)
    for relation in _RELATIONS:
        for text, key in ((own, "rc_" + relation), (configuration, "rc_{0}_{1}".format(name, relation))):
            found[relation] += (shell_value(text, key) or "").split()
    return found
