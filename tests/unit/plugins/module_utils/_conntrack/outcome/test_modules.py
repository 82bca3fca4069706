# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a name stands for and brings, by the indexes of a kernel, their texts, or neither.

tests/integration/test_modules_oracle.py has the real depmod and modprobe say the same.
"""

import os
import struct

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.modules import Modules
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import modprobe

RELEASE = "6.1.0-9"
HOME = "lib/modules/" + RELEASE
DEP = {
    "nf_conntrack": "kernel/net/nf_conntrack.ko.xz: kernel/lib/crc.ko.xz",
    "crc": "kernel/lib/crc.ko.xz:",
    "nf_nat": "kernel/net/nf-nat.ko.xz: kernel/net/nf_conntrack.ko.xz kernel/lib/crc.ko.xz",
    "bridge": "kernel/net/bridge.ko.xz:",
    "br_netfilter": "kernel/net/br_netfilter.ko.xz: kernel/net/bridge.ko.xz",
}
ALIASES = [
    ("ip_nat", "nf_nat"),
    ("net_pf_[0-9]x", "nf_nat"),
    ("br*", "bridge"),
    ("ip_*_x", "nf_conntrack"),
    ("*y", "crc"),
]


def index(rows):
    """As depmod has it, but for what can be left out: a node for each character, and no prefixes."""
    content = bytearray(struct.pack(">III", 0xB007F457, 0x20001, 0))

    def node(within):
        values = [value for key, value in within if not key]
        chars = sorted({key[0] for key, _value in within if key})
        children = {char: node([(key[1:], value) for key, value in within if key[:1] == char]) for char in chars}
        at, flags = len(content), 0
        if children:
            flags |= 0x20000000
            first, last = ord(chars[0]), ord(chars[-1])
            offsets = [children.get(chr(place), 0) for place in range(first, last + 1)]
            content.extend(struct.pack(">BB{0}I".format(len(offsets)), first, last, *offsets))
        if values:
            flags |= 0x40000000
            content.extend(struct.pack(">I", len(values)))
            for value in values:
                content.extend(struct.pack(">I", 7) + value.encode() + b"\0")
        return at | flags

    content[8:12] = struct.pack(">I", node(rows))
    return bytes(content)


def lay_out(root, files):
    for path, content in files.items():
        real = os.path.join(str(root), path)
        os.makedirs(os.path.dirname(real), exist_ok=True)
        with open(real, "wb") as target:
            target.write(content if isinstance(content, bytes) else content.encode())
    return Host(str(root))


TEXTS = {
    HOME + "/modules.dep": "\n".join(DEP.values()) + "\n",
    HOME + "/modules.alias": "# c\n"
    + "".join("alias {0} {1}\n".format(*row) for row in ALIASES).replace("pf_[", "pf-["),
    HOME + "/modules.builtin": "kernel/fs/ext4.ko\n",
}
INDEXES = {
    HOME + "/modules.dep.bin": index(sorted(DEP.items())),
    HOME + "/modules.alias.bin": index(sorted(ALIASES)),
    HOME + "/modules.builtin.bin": index([("ext4", "kernel/fs/ext4.ko")]),
}
KINDS = {"indexes": INDEXES, "texts": TEXTS, "of a merged /usr": {"usr/" + path: text for path, text in TEXTS.items()}}
# The texts are those of another kernel: kmod does not read them.
KINDS["both"] = dict(INDEXES, **dict.fromkeys(TEXTS, "kernel/a.ko:\n"))

NAMED = [
    ("nf_nat", ["nf_nat"], True),
    ("ip_nat", ["nf_nat"], True),
    ("net_pf_5x", ["nf_nat"], True),
    ("net_pf_x", [], False),
    ("ip_conntrack_x", ["nf_conntrack"], True),
    ("ip_conntrack", [], False),
    ("bridge", ["bridge"], False),
    ("brctl", ["bridge"], False),
    ("br_netfilter", ["br_netfilter"], False),
    ("my", ["crc"], False),
    ("ext4", ["ext4"], False),
    ("nf_conntrack_ipv4", [], False),
    ("nf", [], False),
    ("", [], False),
    ("\u0665\u0394", [], False),
]


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(("name", "stands_for", "brings"), NAMED, ids=[case[0] or "none" for case in NAMED])
def test_named(tmp_path, kind, name, stands_for, brings):
    modules = Modules(lay_out(tmp_path, KINDS[kind]), RELEASE, [])
    assert modules.named(name) == stands_for
    assert any(modules.brings(one, "nf_conntrack") for one in stands_for) is brings


LINES = [
    ("an alias", "alias bridge nf-nat", "bridge", ("nf_nat", True)),
    ("two", "alias bridge crc\nalias br* nf_nat", "bridge", ("nf_nat", True)),
    ("the first counts", "softdep bridge pre: crc\nsoftdep br* pre: nf_nat", "bridge", ("", False)),
    ("of what it depends on", "softdep bridge post: ip-nat", "br_netfilter", ("br_netfilter", True)),
    ("in a circle", "softdep bridge pre: crc\nsoftdep crc post: bridge", "br_netfilter", ("", False)),
    ("before pre: is nothing", "softdep bridge nf_nat", "bridge", ("", False)),
    ("of what is built in", "softdep ext4 pre: nf_nat", "ext4", ("", False)),
    ("through what is built in", "softdep bridge pre: ext4\nsoftdep ext4 pre: nf_nat", "bridge", ("bridge", True)),
    ("to one that is not there", "alias bridge gone", "bridge", ("", False)),
    ("blacklisted", "blacklist nf_nat", "ip_nat", ("", False)),
    ("the module itself", "blacklist nf_conntrack", "ip_conntrack_x", ("nf_conntrack", True)),
    ("another kernel's", "", "nf_conntrack_ipv4", ("nf_conntrack_ipv4", False)),
]


@pytest.mark.parametrize(("lines", "name", "found"), [case[1:] for case in LINES], ids=[case[0] for case in LINES])
def test_early(tmp_path, lines, name, found):
    taken = list(modprobe.parse("/etc/modprobe.d/a.conf", lines))
    assert Modules(lay_out(tmp_path, INDEXES), RELEASE, taken).early(name, "nf_conntrack", "") == found


BY_NAME = ["nf_conntrack_ipv4", "ip_conntrack_ftp", "ipt_state", "xt_NOTRACK", "nf_nat_ipv6", "iptable_nat", "ip_vs_rr"]
OTHERS = ["br_netfilter", "ip_tables", "nf_tables", "nf_defrag_ipv4", "xt_comment", "conntrack"]


@pytest.mark.parametrize("name", BY_NAME + OTHERS)
def test_without_a_kernel_the_list_of_names_decides(tmp_path, name):
    modules = Modules(lay_out(tmp_path, {}), RELEASE, [])
    assert modules.early(name, "nf_conntrack", "") == ((name, True) if name in BY_NAME else ("", False))


BROKEN = {
    "nothing": b"",
    "another file": b"\x7fELF" + bytes(100),
    "another version": b"\xb0\x07\xf4\x57\0\3\0\1" + bytes(100),
}


@pytest.mark.parametrize("content", list(BROKEN.values()), ids=list(BROKEN))
def test_of_an_index_that_is_none_the_text_is_read(tmp_path, content):
    files = dict(TEXTS, **{HOME + "/modules.dep.bin": content})
    assert Modules(lay_out(tmp_path, files), RELEASE, []).early("ip_nat", "nf_conntrack", "") == ("nf_nat", True)


def test_an_index_may_hold_anything(tmp_path):
    """Cut off at each byte, and each byte another: an answer, in little time."""
    dep, alias = HOME + "/modules.dep.bin", HOME + "/modules.alias.bin"
    for path in (dep, alias):
        whole = INDEXES[path]
        for at in range(12, len(whole), 11):
            for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 0xE1]) + whole[at + 1 :]):
                modules = Modules(lay_out(tmp_path, dict(INDEXES, **{path: content})), RELEASE, [])
                assert modules.early("ip_nat", "nf_conntrack", "")[0] in ("", "ip_nat", "nf_nat")


def test_an_index_that_leads_to_itself_has_an_end(tmp_path):
    """A node * whose only child is itself, and which has a value each time."""
    loop = struct.pack(">BBI", 42, 42, 12 | 0x60000000) + struct.pack(">II", 1, 7) + b"nf_nat\0"
    content = struct.pack(">III", 0xB007F457, 0x20001, 12 | 0x60000000) + loop
    modules = Modules(lay_out(tmp_path, dict(INDEXES, **{HOME + "/modules.alias.bin": content})), RELEASE, [])
    assert set(modules.named("x")) == {"nf_nat"}


def test_parameters_of_a_file(tmp_path):
    told = b"\x7fELF" + bytes(60) + b"license=GPL\0parm=own:x\0parmtype=hashsize:uint\0parmtype=own:bool\0xparm=no:x\0"
    host = lay_out(
        tmp_path, {HOME + "/modules.dep": "kernel/nf_conntrack.ko:\n", HOME + "/kernel/nf_conntrack.ko": told}
    )
    assert Modules(host, RELEASE, []).parameters("nf_conntrack") == {"hashsize", "own"}


@pytest.mark.parametrize("content", [b"", b"\xfd7zXZ\0broken", b"\x1f\x8bbroken", b"\x28\xb5\x2f\xfd"])
def test_a_file_that_cannot_be_read_has_none(tmp_path, content):
    host = lay_out(
        tmp_path, {HOME + "/modules.dep": "kernel/nf_conntrack.ko:\n", HOME + "/kernel/nf_conntrack.ko": content}
    )
    assert Modules(host, RELEASE, []).parameters("nf_conntrack") == set()
