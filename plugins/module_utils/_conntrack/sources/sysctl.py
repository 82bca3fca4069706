# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every source of sysctl settings in the order of a boot: which line wins, by file and line.

Sources: sysctl.c, conf-files.c and sysctl-util.c of systemd 247 to 257; sysctl.c of procps 4.0; proc_sysctl.c and
sysctl.c of the kernel. Lines are parsed as systemd does; how procps has their names is read from their texts.
"""

import posixpath
import re
from typing import (
    TYPE_CHECKING,
    AbstractSet,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from ..kernel import LARGEST_LIMIT, Bounds, is_switch

if TYPE_CHECKING:
    # The plan needs this module, on the controller, where there is no host to look at.
    from ..host.door import Host

# What procps reads last of all, and systemd only through a link from /etc/sysctl.d.
SYSCTL_CONF = "/etc/sysctl.conf"
COMMAND_LINE = "/proc/cmdline"
# Of any kernel, what it takes for sure.
_ANY = Bounds()
# A credential of systemd-sysctl's service, by the end of its path.
EXTRA = "/sysctl.extra"
# The old name of a variable: both are in the host's own network namespace, and the later write wins.
ALIASES = {
    "net.nf_conntrack_max": "net.netfilter.nf_conntrack_max",
    "net.ipv4.ip_conntrack_max": "net.ipv4.netfilter.ip_conntrack_max",
}

# Where systemd looks for a credential that a service asks for by name alone: first what the firmware or the hypervisor gave.
_CREDENTIALS = (
    "/run/credentials/@system",
    "/etc/credstore",
    "/run/credstore",
    "/usr/local/lib/credstore",
    "/usr/lib/credstore",
)
_ENCRYPTED = (
    "/run/credentials/@encrypted",
    "/etc/credstore.encrypted",
    "/run/credstore.encrypted",
    "/usr/local/lib/credstore.encrypted",
    "/usr/lib/credstore.encrypted",
)
_ASKS_CREDENTIAL = re.compile(
    r"^\s*(?:LoadCredential\s*=\s*sysctl\.extra|ImportCredential\s*=\s*sysctl\.(?:\*|extra))\s*$", re.M
)
_ASKS_ENCRYPTED = re.compile(r"^\s*ImportCredential\s*=", re.M)
# What came with a kernel of SUSE's, by its release: the first that is there.
_KERNELS = ("/usr/lib/modules/{0}/sysctl.conf", "/boot/sysctl.conf-{0}")
# As many links as the kernel follows (MAXSYMLINKS).
_MOST_LINKS = 40
# What isspace() of C has.
_SPACE = " \t\n\v\f\r"
# Names in a path of procps'.
_DEEPEST = 64
_SWAPPED = str.maketrans("./", "/.")
# What proc_get_long takes for one number: of base 10, 16 or 8, at most 20 characters, then nothing or a blank.
_NUMBER = re.compile(
    r"[ \t\v\f]*(?=\S{1,20}(?:[ \t]|$))(-?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*))(?:[ \t].*)?", re.S
)


class Assignment(NamedTuple):
    """A line that sets a key, or with a glob many, or that keeps globs from it."""

    key: str  # dotted: what would be a slash in the path is a dot, and the other way round
    value: Optional[str]  # None: globs are to leave the key alone
    path: str  # as it is found in a folder of sysctl.d
    file: str  # the one to edit: where path leads to, if it is a link
    line: int
    text: str
    glob: bool
    optional: bool  # a failure is no error


def folders(name: str) -> Tuple[str, ...]:
    """Where systemd looks for NAME.d, first what wins; /lib is another than /usr/lib where /usr is split."""
    return tuple(home + "/" + name for home in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))


def files(host: "Host", places: Sequence[str] = folders("sysctl.d")) -> List[str]:
    """The files of some folders in the order in which systemd reads them: by name, each from the first that has it.

    What masks is among them: an empty file, a link to /dev/null, a dangling link, even a directory.
    """
    found: Dict[str, str] = {}
    for place in places:
        for name in host.list(place):
            if name.endswith(".conf") and not name.startswith("."):
                found.setdefault(name, place + "/" + name)
    return [found[name] for name in sorted(found, key=_bytes)]


def assignments(host: "Host", procps: bool = False) -> List[Assignment]:
    """The lines of all files in the order of reading; with ``procps`` also what that alone reads."""
    return [line for path in files(host) + [SYSCTL_CONF] * procps for line in of_file(host, path)]


def of_file(host: "Host", path: str) -> List[Assignment]:
    file = _target(host, path)
    return parse(path, host.read(file) or "", file)


def of_kernel(host: "Host", release: str) -> List[Assignment]:
    """What a kernel of SUSE's has beside it, which systemd-sysctl is called with at a boot before it reads all others."""
    path = next((path for path in (path.format(release) for path in _KERNELS) if host.exists(path)), None)
    return of_file(host, path) if path else []


def is_of_kernel(path: str) -> bool:
    return path.startswith(tuple(path.partition("{")[0] for path in _KERNELS))


def credential(host: "Host") -> Optional[List[Assignment]]:
    """What systemd-sysctl reads after all files since systemd 252, of its service alone: a call of udev's has no credentials.
    None where it is encrypted."""
    path = next((home + EXTRA for home in _CREDENTIALS if host.exists(home + EXTRA)), None)
    is_secret = path is None and any(host.exists(home + EXTRA) for home in _ENCRYPTED)
    if path is None and not is_secret:
        return []
    homes = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
    units = (host.read(home + "/systemd/system/systemd-sysctl.service") for home in homes)
    asks = _ASKS_CREDENTIAL.search(next(filter(None, units), ""))
    if not asks:
        return []
    if path:
        return of_file(host, path)
    # LoadCredential= takes none that are encrypted.
    return None if _ASKS_ENCRYPTED.match(asks.group()) else []


def parse(path: str, text: str, file: str = "") -> List[Assignment]:
    """The lines of a file that set something. A carriage return or a NUL ends a line, too; a backslash does not join."""
    found = []
    for number, row in enumerate(text.split("\n"), 1):
        for line in re.split("[\r\0]", row):
            name, sep, value = line.strip(" \t").partition("=")
            if name[:1] in ("#", ";") or not (sep or name.startswith("-")):
                continue
            key = _key(name[1:] if name.startswith("-") else name)
            found.append(
                Assignment(
                    key=key,
                    value=value.strip(" \t") if sep else None,
                    path=path,
                    file=file or path,
                    line=number,
                    text=line,
                    glob=is_glob(key),
                    optional=name.startswith("-"),
                )
            )
    return found


def is_glob(key: str) -> bool:
    return any(char in key for char in "*?[")


def command_line(text: str) -> List[Assignment]:
    """What the kernel itself sets before init, since 5.8, from sysctl.NAME=VALUE among its own parameters.

    Only where connection tracking is built in: the keys of a module are not there yet. systemd-sysctl comes after
    and knows nothing of it. Each is written in turn, as procps does with its lines.
    """
    if "sysctl" not in text:
        return []
    # Few command lines have any.
    from .modprobe import words

    found = []
    for _offset, word in words(text):
        bare = word.strip('"') if word.startswith('"') else word
        if bare == "--":
            break
        name, sep, value = bare.partition("=")
        if sep and re.match("sysctl[./]", name):
            key = _key("/" + name[7:].replace(".", "/"))
            found.append(Assignment(key, value.strip('"'), COMMAND_LINE, COMMAND_LINE, 1, word, False, True))
    return found


def number(key: str, value: Optional[str], bounds: Bounds = _ANY) -> Optional[int]:
    """What the kernel makes of a value; None where it refuses it and leaves what was there.

    A negative limit, which older kernels took for one of billions, counts as refused; a negative timeout is taken.
    """
    found = _NUMBER.fullmatch(value or "")
    if not found:
        return None
    digits = found.group(1)
    base = 16 if "x" in digits.lower() else 8 if digits.lstrip("-").startswith("0") else 10
    if "_timeout" in key:
        least, most = -bounds.timeout, bounds.timeout
    elif is_switch(key):
        least, most = min(1 - bounds.switch, 0), bounds.switch
    else:
        # No buckets at all are refused (nf_conntrack_hash_resize).
        least, most = int(key.endswith("_buckets")), LARGEST_LIMIT
    result = int(digits, base)
    return result if least <= result <= most else None


def concerned(settings: Sequence[Assignment], keys: Iterable[str]) -> List[Assignment]:
    """The lines that may set one of ``keys``, or keep globs from it, as systemd or procps reads them."""
    paths = {key: _parts(key) for key in keys}
    return [
        line
        for line in settings
        if (_reached(line, paths) if line.glob else line.key in paths) or _procps_concerns(line, paths)
    ]


def effective(
    settings: Sequence[Assignment],
    keys: Iterable[str],
    prefixes: Sequence[str] = (),
    procps: bool = False,
    bounds: Bounds = _ANY,
) -> Dict[str, Assignment]:
    """The line that leaves its value in each of ``keys``, dotted names of which there is a file; none: nothing does.

    ``prefixes`` are those of systemd-sysctl --prefix.
    """
    existing = frozenset(keys)
    if procps:
        left = _written_by_procps(settings, existing, bounds)
    else:
        left = _written_by_systemd(settings, existing, prefixes, bounds)
    return {key: left[_variable(key, existing)] for key in sorted(existing) if _variable(key, existing) in left}


def _written_by_systemd(
    settings: Sequence[Assignment], existing: FrozenSet[str], prefixes: Sequence[str], bounds: Bounds
) -> Dict[str, Assignment]:
    """By variable, the last line whose value the kernel takes."""
    lines = list(_merged(settings).values())
    explicit = {line.key for line in lines if not line.glob}
    asked = _asked(existing, prefixes)
    by_glob = {key: path for key, path in asked.items() if key not in explicit}
    left: Dict[str, Assignment] = {}
    for line in lines:
        for key in _reached(line, by_glob, prefixes) if line.glob else {line.key} & asked.keys():
            if number(key, line.value, bounds) is not None:
                left[_variable(key, existing)] = line
    return left


def _written_by_procps(
    settings: Sequence[Assignment], existing: FrozenSet[str], bounds: Bounds
) -> Dict[str, Assignment]:
    """The same of procps, which writes each line in its turn."""
    lines = [(_procps_path(line), line) for line in settings]
    # For no glob, wherever it stands, if it is spelled the same. That globs keep others away, since procps 4.0.5, is left out.
    named = {path for path, _line in lines}
    parts = {key: _parts(key) for key in existing}
    left: Dict[str, Assignment] = {}
    for path, line in lines:
        value = (line.value or "").strip(_SPACE)
        # The kernel, which writes like this its command line, has no globs.
        glob = is_glob(path) and line.path != COMMAND_LINE
        for key in existing if line.value is not None else ():
            found = _procps_found(path, parts[key], glob)
            if found and not (glob and found in named) and number(key, value, bounds) is not None:
                left[_variable(key, existing)] = line
    return left


def _procps_path(line: Assignment) -> str:
    """Below /proc/sys. A failure is allowed after one - or two, behind which no blank may stand."""
    written = line.text if line.path != COMMAND_LINE else ""
    name = written.partition("=")[0].strip(_SPACE) or line.key
    for _time in range(2):
        name = name[1:] if name.startswith("-") else name
    separator = re.search("[./]", name)
    return name.translate(_SWAPPED) if separator and separator.group() == "." else name


def _procps_found(path: str, key: Sequence[str], glob: bool) -> Optional[str]:
    """The path of a key's file as procps comes to it; None where it does not. Ways back are left out."""
    names = path.split("/", _DEEPEST + 1)
    # What ends in / is a folder.
    if names[-1] in ("", ".") or len(names) > _DEEPEST:
        return None
    at, found = 0, []
    for name in names:
        if name not in ("", "."):
            if at == len(key) or not (_fits(name, key[at]) if glob else name == key[at]):
                return None
            name = key[at]
            at += 1
        found.append(name)
    return "/".join(found) if at == len(key) else None


def _procps_concerns(line: Assignment, paths: Mapping[str, List[str]]) -> bool:
    path = _procps_path(line)
    if "conntrack" not in path and not is_glob(path):
        return False
    return any(_procps_found(path, key, is_glob(path)) for key in paths.values())


def withdrawn(
    settings: Sequence[Assignment], unset: AbstractSet[str], prefixes: Sequence[str] = (), bounds: Bounds = _ANY
) -> Dict[str, Assignment]:
    """Of keys that nothing sets, the line that systemd-sysctl has for one in place of others: the kernel refuses its value, or it
    has none and keeps globs away."""
    lines = [line for line in settings if line.key in unset]
    asked = _asked({line.key for line in lines}, prefixes)
    return {
        key: line for key, line in _merged(lines).items() if key in asked and number(key, line.value, bounds) is None
    }


def _asked(keys: Iterable[str], prefixes: Sequence[str]) -> Dict[str, List[str]]:
    """The keys, with their paths, that such prefixes let through."""
    # As systemd-sysctl takes them: /proc/sys in front, which it means to allow, matches nothing.
    under = {tuple(_parts(_key(prefix))) for prefix in prefixes}
    return {key: _parts(key) for key in keys if not under or _begins(key, under)}


def _merged(settings: Iterable[Assignment]) -> Dict[str, Assignment]:
    """By key, in the order of writing: a new value moves a key to the end, the same once more leaves it where it is."""
    found: Dict[str, Assignment] = {}
    for line in settings:
        if line.key in found and found[line.key].value != line.value:
            del found[line.key]
        found[line.key] = line
    return found


def _variable(key: str, existing: FrozenSet[str]) -> str:
    """What a key is a name of. Until 4.8 kernels showed those of ip_conntrack beside their own."""
    name = ALIASES.get(key, key)
    newer = name.replace("net.ipv4.netfilter.ip_", "net.netfilter.nf_", 1)
    return newer if newer in existing else name


def _key(name: str) -> str:
    """The dotted name: a slash as the first separator means that the name is a path, a dot that both are swapped."""
    name = name.strip(" \t")
    separator = re.search("[./]", name)
    path = name.translate(_SWAPPED) if separator and separator.group() == "." else name
    return "/".join(part for part in path.split("/") if part not in ("", ".")).translate(_SWAPPED)


def _parts(key: str) -> List[str]:
    """Of a key's path."""
    return key.translate(_SWAPPED).split("/")


def _begins(key: str, under: AbstractSet[Tuple[str, ...]]) -> bool:
    parts = tuple(_parts(key))
    return any(parts[:length] in under for length in range(len(parts) + 1))


def _reached(line: Assignment, paths: Mapping[str, List[str]], prefixes: Sequence[str] = ()) -> List[str]:
    """The keys that a glob is about, of some with their paths."""
    patterns = [_parts(line.key)] if "{" not in line.key else _alternatives(_parts(line.key), prefixes)
    lengths = {len(pattern) for pattern in patterns}
    if not any(len(path) in lengths for path in paths.values()):
        return []
    # The globs of most hosts are of network devices, whose keys are longer.
    return [key for key, path in paths.items() if any(_is(path, pattern) for pattern in patterns)]


def _alternatives(pattern: List[str], prefixes: Sequence[str]) -> List[List[str]]:
    """What braces stand for. Before that, names of a prefix stand in the place of those that match them, braces or not."""
    from .globs import alternatives

    begun = []
    for prefix in map(_parts, map(_key, prefixes)):
        if len(prefix) <= len(pattern) and _is(prefix, pattern[: len(prefix)]):
            begun.append(prefix + pattern[len(prefix) :])
    found = []
    for one in ["/".join(parts) for parts in begun] if prefixes else ["/".join(pattern)]:
        # With no other sign of a glob they are nothing but braces.
        found += [other.split("/") for other in (alternatives(one) if is_glob(one) else [one])]
    return found


def _is(path: Sequence[str], pattern: Sequence[str]) -> bool:
    return len(path) == len(pattern) and all(map(_fits, pattern, path))


def _fits(pattern: str, name: str) -> bool:
    # Most hosts have no such glob.
    from .globs import matches

    return matches(pattern, name)


def _target(host: "Host", path: str) -> str:
    """Where a path leads to if it is a link, that of a folder on the way followed too."""
    link = host.link(path)
    if link is None:
        return path
    at, links = "/", 1
    pending = posixpath.join(posixpath.dirname(path), link).split("/")[::-1]
    while pending:
        name = pending.pop()
        if name in ("", ".", ".."):
            at = posixpath.dirname(at) if name == ".." else at
            continue
        here = posixpath.join(at, name)
        link = host.link(here)
        if link is None:
            at = here
            continue
        links += 1
        if links > _MOST_LINKS:
            return path
        at = "/" if link.startswith("/") else at
        pending += link.split("/")[::-1]
    return at


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
