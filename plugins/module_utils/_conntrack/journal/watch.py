# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who takes a change back that nobody confirms: a program that has all it needs in it, run when the time is over and at each boot
until then.

systemd has a timer for it and a unit that boots start; elsewhere it sleeps by itself, and the init system starts it at a boot. All
of it stands before the change is begun, and goes when the change is over. Everything here raises OSError.
"""

import contextlib
import errno
import importlib
import io
import json
import os
import pkgutil
import posixpath
import re
import sys
import zipfile
from importlib.util import find_spec
from typing import Dict, List, NamedTuple, Optional, Sequence

from ..host.writing import Kept, WritableHost
from .heads import HOME, at
from .store import missing

PROGRAM, ARMED = "undo.pyz", "armed"
NAME = "headroom-netfilter-undo"

_UNITS = "/etc/systemd/system"
_WANTED = ("sysinit.target.wants", "timers.target.wants")
_UNIT = re.compile(NAME + r"-([A-Za-z0-9][A-Za-z0-9._-]{0,63})\.(?:service|timer)")
_SYSTEMCTL = ("/usr/bin/systemctl", "/bin/systemctl")
_UPDATE_RC = "/usr/sbin/update-rc.d"
# Seconds. On a host under load systemd takes its time to read its units.
_LONGEST = 60.0
# Seconds after which a program that could not take a change back tries again.
AGAIN = 10

_MAIN = """\
import sys

from _conntrack.change.perform import overdue
from _conntrack.host.writing import WritableHost

sys.exit(overdue(WritableHost(), {0!r}, sys.argv[1:]))
"""
_SERVICE = """\
# headroom.netfilter
[Unit]
Description=Takes change {name} of connection tracking back, which was not confirmed
DefaultDependencies=no
RequiresMountsFor={home}
After=local-fs.target
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
ConditionPathExists={program}

[Service]
Type=oneshot
ExecStart={command}
"""
_TIMER = """\
# headroom.netfilter
[Unit]
Description=When the time to confirm change {name} of connection tracking is over
DefaultDependencies=no
Before=shutdown.target
Conflicts=shutdown.target

[Timer]
OnActiveSec={seconds}
OnUnitInactiveSec={again}
AccuracySec=1s
Unit={unit}-{name}.service
"""
_OPENRC = """\
#!/sbin/openrc-run
# headroom.netfilter
description="Takes change {name} of connection tracking back, which was not confirmed"

depend() {{
    need localmount
    before net firewall iptables ip6tables nftables modules
}}

start() {{
    [ ! -e {program} ] || {command} || {{ {command} wait {again} & }}
}}
"""
_SYSVINIT = """\
#!/bin/sh
# headroom.netfilter
### BEGIN INIT INFO
# Provides:          {unit}
# Required-Start:    $local_fs
# Required-Stop:
# X-Start-Before:    networking
# Default-Start:     S
# Default-Stop:
# Short-Description: Takes a change of connection tracking back, which was not confirmed
### END INIT INFO
[ "$1" != start ] || [ ! -e {program} ] || {command} || {{ {command} wait {again} & }}
"""


class Way(NamedTuple):
    """How an init system is told of the program."""

    files: Dict[str, str]  # with their texts
    links: Dict[str, str]  # with what they point to
    start: Sequence[Sequence[str]]  # what has it known, and then the time run
    stop: Sequence[Sequence[str]]
    mode: int
    sleeps: bool  # whether the program has to wait by itself


def is_possible(host: WritableHost) -> bool:
    """Whether there is an init system here that this knows how to tell of the program."""
    return _way(host, "", 0) is not None


def begin(host: WritableHost, name: str, seconds: int) -> None:
    """Have a change taken back in so many seconds, and at a boot before that."""
    way = _way(host, name, seconds)
    if way is None:
        raise OSError(errno.ENOSYS, "no init system that is known here")
    uid, gid = host.owner()
    _sweep(host)
    host.put(at(name, PROGRAM), Kept("file", program(name), "", 0o600, uid, gid))
    # What is brought along has to be all that it needs.
    host.command(_command(name) + ["check"], _LONGEST)
    folders: List[str] = []
    for path in list(way.files) + list(way.links):
        folders += [folder for folder in missing(host, posixpath.dirname(path)) if folder not in folders]
    host.put(at(name, ARMED), Kept("file", json.dumps(folders).encode("ascii"), "", 0o600, uid, gid))
    for folder in folders:
        host.make_folder(folder)
    for path, text in way.files.items():
        host.put(path, Kept("file", text.encode("utf-8"), "", way.mode, uid, gid))
    for path, target in way.links.items():
        host.put(path, Kept("link", target=target, uid=uid, gid=gid))
    for command in way.start:
        host.command(list(command), _LONGEST)
    if way.sleeps:
        host.start(_command(name) + ["wait", str(seconds)])


def end(host: WritableHost, name: str) -> None:
    """Nobody is to take it back any more. Where this was cut off, it can be done again."""
    if not host.exists(at(name, PROGRAM)):
        return
    way = _way(host, name, 0)
    if way:
        # A boot starts it for as long as it can be; systemd goes on with what it has read of files that are gone.
        for path in list(way.files)[1:] + list(way.links)[::-1] + list(way.files)[:1]:
            host.discard(path)
            if host.exists(path):
                host.put(path, Kept("none"))
    for folder in reversed(_made(host, name)):
        if host.exists(folder) and not host.list(folder):
            host.remove_folder(folder)
    if way:
        for command in way.stop:
            with contextlib.suppress(OSError):
                host.command(list(command), _LONGEST)
    for inside in (ARMED, PROGRAM):
        host.put(at(name, inside), Kept("none"))


def _sweep(host: WritableHost) -> None:
    """Take away units of changes that are over, as a power cut may have left them."""
    for folder in (_UNITS, *(posixpath.join(_UNITS, target) for target in _WANTED)):
        for unit in host.list(folder):
            found = _UNIT.fullmatch(unit)
            if found and not host.exists(at(found.group(1), PROGRAM)):
                host.put(posixpath.join(folder, unit), Kept("none"))


def program(name: str) -> bytes:
    """A zip that Python runs: this package, as far as it was brought here, and what starts it for one change."""
    package = importlib.import_module(__name__.rpartition(".journal.")[0])
    sources = {"__main__.py": _MAIN.format(name), "_conntrack/__init__.py": ""}
    start = package.__name__ + "."
    for found in pkgutil.walk_packages(package.__path__, start):
        spec = find_spec(found.name)
        text = spec.loader.get_source(found.name) if spec and spec.loader else None  # type: ignore[attr-defined]
        if text is None:
            raise OSError(errno.ENOENT, "there is no source of {0}".format(found.name))
        place = found.name[len(start) :].replace(".", "/") + ("/__init__.py" if found.ispkg else ".py")
        sources["_conntrack/" + place] = text
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for place, text in sorted(sources.items()):
            target.writestr(zipfile.ZipInfo(place), text.encode("utf-8"), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def ready() -> None:
    """Import all that there is, so that nothing is missed later, when it may be gone."""
    package = importlib.import_module(__name__.rpartition(".journal.")[0])
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)


def _command(name: str) -> List[str]:
    return [sys.executable, "-I", "-B", at(name, PROGRAM)]


def _made(host: WritableHost, name: str) -> List[str]:
    try:
        return [str(folder) for folder in json.loads(host.read(at(name, ARMED)) or "[]")]
    except ValueError:
        return []


def _way(host: WritableHost, name: str, seconds: int) -> Optional[Way]:
    if not os.path.isabs(sys.executable or ""):
        return None
    said = {
        "name": name,
        "home": HOME,
        "program": at(name, PROGRAM),
        "command": " ".join(_command(name)),
        "seconds": seconds,
        "again": AGAIN,
        "unit": NAME,
    }
    systemctl = next((path for path in _SYSTEMCTL if host.is_executable(path)), None)
    if host.exists("/run/systemd/system") and systemctl:
        # One for each change: a timer would remember when a unit of that name has run before.
        service, timer = ("{0}-{1}.{2}".format(NAME, name, kind) for kind in ("service", "timer"))
        return Way(
            {
                posixpath.join(_UNITS, service): _SERVICE.format(**said),
                posixpath.join(_UNITS, timer): _TIMER.format(**said),
            },
            {
                posixpath.join(_UNITS, _WANTED[0], service): "../" + service,
                posixpath.join(_UNITS, _WANTED[1], timer): "../" + timer,
            },
            # A timer that runs already would not begin anew.
            [(systemctl, "daemon-reload"), (systemctl, "restart", timer), (systemctl, "is-active", timer)],
            [(systemctl, "stop", timer)],
            0o644,
            False,
        )
    script = "/etc/init.d/" + NAME
    if host.exists("/run/openrc") and host.exists("/etc/runlevels/boot"):
        return Way({script: _OPENRC.format(**said)}, {"/etc/runlevels/boot/" + NAME: script}, [], [], 0o755, True)
    if host.exists("/etc/rcS.d") and host.is_executable(_UPDATE_RC) and host.exists("/etc/inittab"):
        return Way(
            {script: _SYSVINIT.format(**said)},
            {},
            [(_UPDATE_RC, NAME, "defaults")],
            [(_UPDATE_RC, NAME, "remove")],
            0o755,
            True,
        )
    return None
