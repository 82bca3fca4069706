# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was, given back: value by value, each as far as it can be. What others have made of it since is left to them."""

from typing import Any, List, NamedTuple, Optional, Sequence

from ..facts.gather import gather
from ..files import UDEV, UNIT
from ..host.writing import Kept, WritableHost
from ..journal.record import Mark, Step, Value, mark
from ..shown import short
from . import live as kernel_values
from .failure import ChangeError, unwritten
from .writes import as_wanted, folders, refuse_exposed, there

# The second before the merge of /usr.
_UDEVADM = ("/usr/bin/udevadm", "/bin/udevadm", "/usr/sbin/udevadm", "/sbin/udevadm")
_SYSTEMCTL = ("/usr/bin/systemctl", "/bin/systemctl")


class Given(NamedTuple):
    """What is to stand at a path again, and what the change has put there; None where that could not be read."""

    path: str
    before: Optional[Kept]
    after: Mark


class Undone(NamedTuple):
    restored: List[str]
    not_restored: List[str]
    is_over: bool  # whether trying again would give back no more


def undo(
    host: WritableHost,
    files: Sequence[Given],
    made: Sequence[str],
    live: Sequence[Value],
    steps: Sequence[Step] = (),
) -> Undone:
    """``made`` are folders that the change has made; of the steps the last one is taken back first, after all the rest."""
    restored: List[str] = []
    not_restored: List[str] = []
    is_over = True
    if live:
        for one in kernel_values.returns(host, gather(host, ["table"]), live):
            why = kernel_values.give_back(host, one)
            name, value = one.setting.name, kernel_values.now(host, one.setting)
            (not_restored if why else restored).append("{0} is {1}{2}".format(name, value, ": " + why if why else ""))
    for file in files:
        try:
            if _give_back(host, file):
                restored.append(file.path)
        except (ChangeError, OSError) as error:
            said = unwritten(host, "restoring", file.path, error) if isinstance(error, OSError) else error
            is_over = is_over and not isinstance(error, OSError)
            not_restored.append(str(said))
    for folder in reversed(made):
        try:
            if host.exists(folder) and not host.list(folder):
                host.remove_folder(folder)
                restored.append(folder)
        except OSError as error:
            is_over = False
            not_restored.append(str(unwritten(host, "removing", folder, error)))
    reload(host, [file.path for file in files])
    for step in reversed(steps):
        try:
            make_so(host, step.kind, step.before)
            restored.append(step.name)
        except (ChangeError, OSError) as error:
            # A disk that is behind its files is told of by each look at the host, and keeps nothing else from being over.
            is_over = is_over and step.kind == "ramdisk"
            not_restored.append("{0}: {1}".format(step.name, getattr(error, "strerror", None) or error))
    return Undone([short(said) for said in restored], [short(said) for said in not_restored], is_over)


def make_so(host: WritableHost, kind: str, wanted: Any) -> None:
    """A step in either direction; done again it changes nothing. Raises ChangeError and OSError."""
    if kind == "commands":
        for argv in wanted:
            host.command([str(word) for word in argv])
    elif kind == "ramdisk":
        from .ramdisk import renew

        renew(host)
    elif kind == "modules":
        from ..stack.order import make

        make(host, wanted)
    else:
        raise ChangeError("{0}: there is no such kind of step; use the collection that has made it".format(kind))


def _give_back(host: WritableHost, file: Given) -> bool:
    """Whether anything had to be written. Raises ChangeError where it is to be left."""
    host.discard(file.path)
    now = there(host, file.path)
    if file.before is None:
        raise ChangeError("{0}: what was there cannot be read from the journal".format(file.path))
    if as_wanted(now, file.before) and now.attributes == file.before.attributes:
        return False
    if mark(now) not in (file.after, mark(file.before)):
        raise ChangeError("{0}: changed by others since; look at it, and make of it what it is to be".format(file.path))
    refuse_exposed(host, file.path)
    if file.before.kind != "none":
        for folder in folders(host, [file.path]):
            host.make_folder(folder)
    host.put(file.path, file.before)
    lost = sorted(set(file.before.attributes) - set(there(host, file.path).attributes))
    if lost:
        raise ChangeError("{0}: all of it but its attributes {1}".format(file.path, ", ".join(lost)))
    return True


def reload(host: WritableHost, paths: Sequence[str]) -> None:
    """Have udev and systemd read again what is theirs where it was written or taken away; where there is none there is nothing to do."""
    commands = [(UDEV, _UDEVADM, ["control", "--reload"])]
    if host.exists("/run/systemd/system"):
        commands.append((UNIT, _SYSTEMCTL, ["daemon-reload"]))
    for path, programs, words in commands:
        program = next((one for one in programs if host.is_executable(one)), None)
        if path in paths and program:
            host.run([program, *words], 4096)
