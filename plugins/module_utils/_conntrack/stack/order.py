# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that stand on connection tracking: in which order they can be unloaded, what holds them, and what is lost with them."""

import errno
from typing import Any, Dict, List, NamedTuple

from ..host.writing import WritableHost
from ..sources.tracking import state_and_flavour

_PARAMETERS = "/sys/module/{0}/parameters"
# Dotted names begin so; ip_conntrack is older than Python 3 on any host.
_VALUES = ("/proc/sys/net/netfilter", "nf_conntrack_")
# What counts, and what is another name of one that is kept.
_NOT_KEPT = ("nf_conntrack_count", "nf_conntrack_buckets")


class Module(NamedTuple):
    """A loaded module, as /proc/modules has it."""

    name: str
    uses: int  # by other things than modules
    users: List[str]  # modules


def loaded(text: str) -> Dict[str, Module]:
    found = {}
    for line in text.split("\n"):
        words = line.split()
        if len(words) < 4 or not words[2].lstrip("-").isdigit():
            continue
        users = [name for name in words[3].split(",") if name and name != "-" and not name.startswith("[")]
        found[words[0]] = Module(words[0], int(words[2]) - len(users), users)
    return found


def order(modules: Dict[str, Module], last: str) -> List[Module]:
    """All that needs the module ``last``, each before what it needs, and that one."""
    found: List[str] = []

    def take(name: str) -> None:
        if name in modules and name not in found:
            for user in modules[name].users:
                take(user)
            found.append(name)

    take(last)
    return [modules[name] for name in found]


def standing(host: WritableHost) -> List[Module]:
    """Those that are loaded here, in the order in which they can be unloaded; none where it is built in, or not there."""
    state, module = state_and_flavour(host)
    return order(loaded(host.read("/proc/modules") or ""), module) if state == "loaded" else []


def state(host: WritableHost) -> Dict[str, Any]:
    """What ``make`` needs to have all of it as it is now."""
    modules = [module.name for module in standing(host)]
    return {"modules": modules, "values": _values(host, modules[-1]) if modules else []}


def _values(host: WritableHost, module: str) -> List[List[str]]:
    """Paths with what they say; the buckets first, so that chains stay short."""
    folder, start = _VALUES
    paths = [_PARAMETERS.format(module) + "/hashsize"]
    paths += [folder + "/" + name for name in host.list(folder) if name.startswith(start) and name not in _NOT_KEPT]
    return [[path, text.strip()] for path in paths for text in [host.read(path)] if text is not None]


def make(host: WritableHost, wanted: Dict[str, Any]) -> None:
    """Have these modules loaded, with these values; or none of them. Raises OSError."""
    if not wanted["modules"]:
        for module in standing(host):
            # One may have gone with another.
            if host.exists("/sys/module/" + module.name):
                host.command(["modprobe", "-r", module.name])
        left = [module.name for module in standing(host)]
        if left:
            raise OSError(errno.EBUSY, "still loaded: {0}".format(", ".join(left)))
        return
    for name in reversed(wanted["modules"]):
        if not host.exists("/sys/module/" + name):
            host.command(["modprobe", name])
    for path, text in wanted["values"]:
        if host.exists(path) and (host.read(path) or "").strip() != text:
            host.write(path, text + "\n")
