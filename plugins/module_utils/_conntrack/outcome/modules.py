# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that a host's kernel has: what a name stands for there and brings with it, and which parameters a module takes. Total.

As kmod looks them up: aliases of modprobe.d, then modules.dep, modules.alias and modules.builtin; with each module come those that it
depends on, and of each of all these the soft dependencies. kmod reads the binary indexes of depmod alone, whose texts a tree may have without them.

Sources: libkmod-index.c, libkmod-module.c and libkmod-config.c of kmod 30, tools/depmod.c.
"""

import re
import struct
from itertools import islice
from typing import TYPE_CHECKING, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

from ..sources import modprobe

if TYPE_CHECKING:
    from ..host.door import Host

_FOLDERS = ("/lib/modules", "/usr/lib/modules")
# Bytes. Those of a distribution's largest kernel have 1.5 million; a module with what is for debuggers has as many.
_LONGEST = 16 * 1024 * 1024
# Lines. modules.alias of such a kernel has 25,000.
_MOST_LINES = 200000
# Nodes of an index. A name meets some tens.
_MOST_NODES = 3000
# Characters. A file's path is no longer (PATH_MAX).
_LONGEST_KEY = 4096
# Names that one stands for or brings: more is no kernel's.
_MOST_BROUGHT = 2000

_MAGIC, _MAJOR = 0xB007F457, 2
_HAS_PREFIX, _HAS_VALUES, _HAS_CHILDREN, _OFFSET = 0x80000000, 0x40000000, 0x20000000, 0x0FFFFFFF
_PATTERN = re.compile(r"[*?\[]")
_PARAMETER = re.compile(rb"\0(?:parm|parmtype)=([A-Za-z0-9_]{1,64}):")

# Names that bring nf_conntrack in one or the other kernel from 4.9 to 6.18: for a host whose kernel's are not there to be asked.
_BRINGS = re.compile(
    r"(ip|nf)_(conntrack|nat)(_.*)?|nf_(conncount|synproxy_core|flow_table(_.*)?)|ip_vs(_.*)?|openvswitch"
    r"|nft_(ct|nat|masq(_.*)?|redir(_.*)?|chain_nat(_.*)?|connlimit|flow_offload|synproxy)"
    r"|(xt|ip6?t)_(conntrack|state|connbytes|connlabel|connlimit|connmark|helper|cluster|nat|CT|NETMAP|REDIRECT|MASQUERADE)"
    r"|(xt|ip6?t)_(CONNSECMARK|NOTRACK|SYNPROXY|CLUSTERIP|ipvs)|vport_(geneve|gre|vxlan)|ip6?table_nat"
    r"|nfnetlink_ct(timeout|helper)|act_(ct|ctinfo|connmark)"
)


class Modules:
    """``taken`` are the lines of modprobe.d, in kmod's order."""

    def __init__(self, host: "Host", release: str, taken: Sequence[modprobe.Line]) -> None:
        self._host = host
        self._taken = taken
        said: Dict[str, List[str]] = {}
        for line in taken:
            if line.command == "alias":
                said.setdefault(line.name, []).append(line.rest)
        self._said = _Texts(said)
        homes = ["{0}/{1}".format(folder, release) for folder in _FOLDERS]
        self._home = next((home for home in homes if release and host.exists(home)), homes[0])
        self._dependencies = self._index("modules.dep")
        self._others: Optional[Sequence[Union[_Texts, _Trie]]] = None
        self._soft: Optional[List[modprobe.Line]] = None

    def named(self, name: str) -> List[str]:
        """The modules that a name, written with _, stands for: of several none is left out."""
        said = self._said.found(name)
        if said or self._dependencies is None or self._dependencies.found(name):
            return said or [name]
        if self._others is None:
            self._others = [self._index(file) or _Texts({}) for file in ("modules.alias", "modules.builtin")]
        aliases, builtin = self._others
        return aliases.found(name) or ([name] if builtin.found(name) else [])

    def early(self, name: str, module: str, command_line: str) -> Tuple[str, bool]:
        """The module that systemd-modules-load loads by a name, if that is ``module`` or brings it, and True; for a name that only
        another kernel has a module for, the name and False; for any other nothing.

        It loads none that is blacklisted or built in; whether ``module`` is blacklisted, is asked elsewhere.
        """
        named = self.named(name)
        for one in named:
            is_barred = one != module and modprobe.blacklisted(self._taken, command_line, one) is not None
            is_there = self._dependencies is None or bool(self._line(one))
            if is_there and not is_barred and self.brings(one, module):
                return one, True
        return ("" if named or not _is_listed(name, module) else name), False

    def brings(self, name: str, module: str) -> bool:
        """Whether a load of the module ``name`` loads ``module``, too, or is its own."""
        if self._dependencies is None:
            return name == module or _is_listed(name, module)
        pending: List[str] = [name]
        seen: Set[str] = set()
        while pending and len(seen) < _MOST_BROUGHT:
            one = pending.pop()
            if one not in seen:
                seen.add(one)
                pending += self._needed(one)
                pending += [found for soft in self._softly(one) for found in self.named(soft)]
        return module in seen and bool(self._line(module))

    def parameters(self, module: str) -> Set[str]:
        """Those that the file of a module says it has; none where that cannot be read."""
        path = self._line(module).partition(":")[0]
        found = self._host.content(path if path.startswith("/") else self._home + "/" + path, _LONGEST)
        return {name.decode() for name in _PARAMETER.findall(_uncompressed(found or b""))}

    def _line(self, module: str) -> str:
        """Of modules.dep: the module's file, and those of all that it depends on."""
        return next(iter(self._dependencies.found(module)), "") if self._dependencies else ""

    def _needed(self, module: str) -> List[str]:
        return [_name(path) for path in self._line(module).partition(":")[2].split()]

    def _softly(self, module: str) -> List[str]:
        """As with other lines, the first counts; those of modprobe.d come before those that modules have themselves."""
        if self._soft is None:
            own = self._home + "/modules.softdep"
            lines = modprobe.parse(own, self._host.read(own) or "")
            self._soft = [line for line in [*self._taken, *lines] if line.command == "softdep"]
        for line in self._soft:
            if modprobe.matches(line.name, module):
                words = line.rest.split()
                first = min((words.index(kind) for kind in ("pre:", "post:") if kind in words), default=len(words))
                return [word.replace("-", "_") for word in words[first:] if word not in ("pre:", "post:")]
        return []

    def _index(self, name: str) -> Optional["Union[_Texts, _Trie]"]:
        """None where there is neither the index nor its text, or neither is understood."""
        path = "{0}/{1}".format(self._home, name)
        if self._host.exists(path + ".bin"):
            found = _Trie.of(self._host.content(path + ".bin", _LONGEST) or b"")
            if found:
                return found
        if not self._host.exists(path):
            return None
        texts: Dict[str, List[str]] = {}
        for line in islice(self._host.lines(path), _MOST_LINES):
            if name != "modules.alias":
                texts.setdefault(_name(line.strip().partition(":")[0]), []).append(line.strip())
            elif line.startswith("alias "):
                pattern, module = (line.split() + ["", ""])[1:3]
                texts.setdefault(modprobe.underscored(pattern) or "", []).append(module)
        return _Texts(texts)


def _is_listed(name: str, module: str) -> bool:
    return module == "nf_conntrack" and _BRINGS.fullmatch(name) is not None


def _name(path: str) -> str:
    """Of the module in a file: kernel/net/nf-x.ko.xz -> nf_x."""
    return path.rpartition("/")[2].partition(".")[0].replace("-", "_")


def _uncompressed(file: bytes) -> bytes:
    """What is in a file that may be compressed; of what this Python cannot read, nothing."""
    if file.startswith(b"\x7fELF"):
        return file
    try:
        # Not every Python has them.
        if file.startswith(b"\xfd7zXZ"):
            import lzma

            return lzma.LZMADecompressor().decompress(file, _LONGEST)
        if file.startswith(b"\x1f\x8b"):
            import zlib

            return zlib.decompressobj(31).decompress(file, _LONGEST)
    except Exception:
        # A broken one has no parameters to tell of; lzma and zlib have errors of their own.
        pass
    return b""


class _Texts:
    """Values by a key, which may be a pattern."""

    def __init__(self, values: Dict[str, List[str]]) -> None:
        self._values = values
        # Nearly all are patterns, of devices: by what they begin with.
        self._patterns: Dict[str, List[str]] = {}
        for key in values:
            magic = _PATTERN.search(key)
            if magic:
                self._patterns.setdefault(key[: min(magic.start(), 3)], []).append(key)

    def found(self, name: str) -> List[str]:
        patterns = [key for length in range(4) for key in self._patterns.get(name[:length], ())]
        keys = {name, *(key for key in patterns if modprobe.matches(key, name))}
        return [value for key in sorted(keys) for value in self._values.get(key, ())]


class _Node(NamedTuple):
    prefix: str
    children: List[Tuple[str, int]]
    values: List[str]


class _Trie:
    """An index as depmod writes it, of which so much is read as a name needs."""

    def __init__(self, content: bytes, root: int) -> None:
        self._content = content
        self._root = root

    @classmethod
    def of(cls, content: bytes) -> Optional["_Trie"]:
        """None for what is no such index."""
        if len(content) < 12:
            return None
        magic, version, root = struct.unpack_from(">III", content)
        return cls(content, root) if (magic, version >> 16) == (_MAGIC, _MAJOR) else None

    def found(self, name: str) -> List[str]:
        try:
            return [value for node in islice(self._nodes(name), _MOST_NODES) for value in node]
        except (struct.error, ValueError, IndexError):
            # It is cut off.
            return []

    def _nodes(self, name: str) -> Iterator[List[str]]:
        """The values of each node on the way; with those of patterns, whose rest is compared as it is."""
        pending = [("", self._root)]
        while pending:
            key, at = pending.pop()
            node = self._node(at)
            key += node.prefix
            if len(key) > _LONGEST_KEY:
                continue
            wild = _PATTERN.search(key) is not None
            if not wild and not name.startswith(key):
                yield []
                continue
            if node.values and modprobe.matches(key, name):
                yield node.values
            yield []
            follow = None if wild else "*?[" + name[len(key) : len(key) + 1]
            pending += [(key + char, child) for char, child in node.children if follow is None or char in follow]

    def _node(self, offset: int) -> _Node:
        at = offset & _OFFSET
        prefix = ""
        children: List[Tuple[str, int]] = []
        values: List[str] = []
        if offset & _HAS_PREFIX:
            prefix, at = self._text(at)
        if offset & _HAS_CHILDREN:
            first, last = self._content[at], self._content[at + 1]
            count = max(last - first + 1, 0)
            offsets = struct.unpack_from(">{0}I".format(count), self._content, at + 2)
            children = [(chr(first + place), child) for place, child in enumerate(offsets) if child & _OFFSET]
            at += 2 + 4 * count
        if offset & _HAS_VALUES:
            (count,) = struct.unpack_from(">I", self._content, at)
            at += 4
            while count > 0:
                value, at = self._text(at + 4)
                values.append(value)
                count -= 1
        return _Node(prefix, children, values)

    def _text(self, at: int) -> Tuple[str, int]:
        end = self._content.index(b"\0", at)
        return self._content[at:end].decode("utf-8", "replace"), end + 1
