# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tuned's profiles in force set, those that they include among them."""

import re
from typing import Dict, Iterator, List, Optional, Set, Tuple

from .. import kernel
from ..host.door import Host
from ..sources.proc import shell_value
from ..values import integer
from .commands import HASHSIZE, HASHSIZE_FILE, Keys, plain_number, sysctl_key
from .owner import Owner, lines_of, of_line, sysctl_lines

# Files asked for, of the profiles that one file names and of what those include.
_MOST_ASKED = 120
_COMMENT = re.compile(r"(?:^|\s)#")
# The later wins.
_TUNED_HOMES = ("/usr/lib/tuned", "/usr/lib/tuned/profiles", "/etc/tuned", "/etc/tuned/profiles")
# Of OpenShift's Node Tuning Operator (d2394aa), on the host; the others are its container's.
_OPERATORS_HOME = "/var/lib/ocp-tuned/profiles"

# By option: its value, and the path, number and text of its line.
Options = Dict[str, Tuple[str, str, int, str]]


def of_process(host: Host, names: kernel.Flavour, pid: int) -> Iterator[Owner]:
    """What a tuned sets that no unit of the host starts; OpenShift's, in a container, sees the host's sysctl.d."""
    if not host.exists(_OPERATORS_HOME):
        yield from owners(host, names)
        return
    remedy = "change it in a Tuned resource of the cluster that includes this profile, of a lower priority's number"
    for owner in owners(host, names, "/proc/{0}/root".format(pid)):
        # No line of it is the host's to be commented out.
        yield owner._replace(path=None, line=None, text=None, remedy=remedy)


def owners(host: Host, names: kernel.Flavour, root: str = "") -> Iterator[Owner]:
    """A finding for each line of a profile that is in force."""
    profiles: List[Dict[str, Options]] = []
    untold: List[Owner] = []
    homes = [root + home for home in _TUNED_HOMES] + ([_OPERATORS_HOME] if root else [])
    for file in (root + "/etc/tuned/active_profile", root + "/etc/tuned/post_loaded_profile"):
        asked: Set[str] = set()
        _load_profiles(host, homes, (host.read(file) or "").split(), profiles, asked)
        if len(asked) > _MOST_ASKED:
            keys: Keys = {names.prefix + "max": None, "hashsize": None}
            said = "{0}: names more profiles than are read, {1} files of them".format(file, _MOST_ASKED)
            untold.append(Owner("tuned", keys, said, None, None, None, True, "include fewer profiles"))
    reapplies = _reapplies(host.read(root + "/etc/tuned/tuned-main.conf"))
    system = _reapplied(host, names) if reapplies else set()
    for unit, options in _merged(profiles).items():
        if _text(options, "enabled", "true").lower() not in ("true", "1"):
            continue
        kind = _text(options, "type", unit)
        for option, (value, path, line, text) in options.items():
            keys = _unmet(host, names, value, _tuned_keys(kind, option, value, names))
            if keys:
                # A module's options wait for its next load, unless it is to be loaded anew (+r).
                at_boot = value.startswith("+r") if kind == "modules" else kind != "sysctl" or not set(keys) <= system
                remedy = "change the line in a profile of your own under /etc/tuned that includes this one"
                yield of_line("tuned", keys, path, line, text, at_boot, remedy, reapplies and kind == "sysctl")
    # Last, since what was not read may say something else.
    yield from untold


def _load_profiles(
    host: Host, homes: List[str], wanted: List[str], profiles: List[Dict[str, Options]], asked: Set[str]
) -> None:
    """What a profile includes comes before itself; names made of variables are passed over.

    A file is asked for once, so that a profile of /etc that includes its own name is laid over the one of /usr/lib.
    """
    for name in wanted:
        # A name after - may be missing.
        name = name[1:] if name.startswith("-") else name
        if len(asked) > _MOST_ASKED:
            return
        if not re.fullmatch("[a-zA-Z0-9_.-]{1,255}", name):
            continue
        for home in reversed(homes):
            path = "{0}/{1}/tuned.conf".format(home, name)
            text = None if path in asked else host.read(path)
            asked.add(path)
            if text is not None:
                sections = _sections(path, text)
                included = _text(sections.get("main", {}), "include", "")
                _load_profiles(host, homes, _listed(included), profiles, asked)
                profiles.append(sections)
                break


def _sections(path: str, text: str) -> Dict[str, Options]:
    """As configparser reads a profile: = delimits, # begins a comment, a line indented more goes on with a value."""
    sections: Dict[str, Dict[str, Tuple[List[str], int, str]]] = {}
    section = last = ""
    depth = 0
    for number, line in lines_of(text):
        bare = _COMMENT.split(line, 1)[0].strip()
        name, sep, value = (part.strip() for part in bare.partition("="))
        if not bare or bare.startswith(";"):
            continue
        indent = len(line) - len(line.lstrip())
        if last and indent > depth:
            sections[section][last][0].append(bare)
        elif bare.startswith("[") and "]" in bare:
            section, last = bare[1 : bare.index("]")], ""
            sections.setdefault(section, {})
        elif sep and section:
            last, depth = name, indent
            sections[section][name] = ([value], number, line)
    return {
        section: {name: ("\n".join(value), path, number, line) for name, (value, number, line) in options.items()}
        for section, options in sections.items()
    }


def _listed(text: str) -> List[str]:
    return [name.strip() for name in re.split("[,;]", text)]


def _text(options: Options, name: str, default: str) -> str:
    return options[name][0] if name in options else default


def _merged(profiles: List[Dict[str, Options]]) -> Dict[str, Options]:
    """The units in force (tuned/profiles/merger.py): the later profile wins, by option unless it replaces the unit."""
    units: Dict[str, Options] = {}
    for profile in profiles:
        for unit, options in profile.items():
            if unit not in units or _text(options, "replace", "").lower() in ("true", "1"):
                units[unit] = dict(options)
                continue
            for dropped in _listed(_text(options, "drop", "")):
                units[unit].pop(dropped, None)
            units[unit].pop("type", None)
            units[unit].pop("enabled", None)
            units[unit].update(options)
    return units


def _unmet(host: Host, names: kernel.Flavour, value: str, keys: Keys) -> Keys:
    """Without a key that has more already where >N says at least, or less where <N says at most: that is left alone."""
    sign = {">": 1, "<": -1}.get(value[:1])
    if sign is None:
        return keys
    hashsize = "/sys/module/{0}/parameters/hashsize".format(names.module)
    found: Keys = {}
    for key, number in keys.items():
        there = integer(host.read(hashsize if key == "hashsize" else kernel.sysctl_path(key)))
        if number is None or there is None or sign * (number - there) >= 0:
            found[key] = number
    return found


def _tuned_keys(kind: str, option: str, value: str, names: kernel.Flavour) -> Keys:
    # A modifier, but in what is written as it stands.
    number = plain_number(value[1:] if value[:1] in ("<", ">") and kind != "sysfs" else value)
    if kind == "sysctl":
        key = sysctl_key(option, names)
        return {key: number} if key else {}
    if (kind == "net" and option == "nf_conntrack_hashsize") or (
        kind == "sysfs" and re.fullmatch(HASHSIZE_FILE, option)
    ):
        return {"hashsize": number}
    found = HASHSIZE.search(value) if kind == "modules" and option in ("nf_conntrack", "ip_conntrack") else None
    return {"hashsize": plain_number(found.group(1))} if found else {}


def _reapplies(configuration: Optional[str]) -> bool:
    """Whether tuned applies the files of sysctl.d again after its profile, which then win over it."""
    asked = shell_value(configuration, "reapply_sysctl") or "1"
    return asked.lower() not in ("0", "no", "false", "off")


def _reapplied(host: Host, names: kernel.Flavour) -> Set[str]:
    """The keys of those files."""
    # Files of /run hide those of the same name, other than to systemd.
    paths = {name: folder for folder in ("/etc/sysctl.d", "/run/sysctl.d") for name in host.list(folder)}
    texts = [host.read("{0}/{1}".format(folder, name)) for name, folder in paths.items() if name.endswith(".conf")]
    found = (found for text in texts + [host.read("/etc/sysctl.conf")] for found in sysctl_lines(text, names))
    # It takes the - before a key for a part of it.
    return {key for key, (_number, line, _value) in found if not line.lstrip().startswith("-")}
