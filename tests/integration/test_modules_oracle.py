# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Kernels at random: what the collection says that a name brings with it is what the real modprobe would load.

Modules are files made here that depmod takes for such; modprobe only says what it would do. Each kernel is looked at through
depmod's indexes and through their texts. With KERNEL_TREE, a folder with lib/modules/RELEASE of a distribution's kernel that depmod
has been run for, all names of that are compared, too. ORACLE_LAYOUTS and ORACLE_SEED ask for more kernels, and for others.
"""

from __future__ import annotations

import lzma
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[5]))
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.modules import Modules
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import modprobe

KERNELS = int(os.environ.get("ORACLE_LAYOUTS", "40"))
SEED = int(os.environ.get("ORACLE_SEED", "4"))
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
MODULE = "nf_conntrack"
RELEASE = "6.1.0-9"
NAMES = (
    "nf_nat",
    "nf-conntrack-ftp",
    "xt_state",
    "bridge",
    "br_netfilter",
    "crc",
    "nft-ct",
    "a",
    "nf",
    "nf_conntrack_2",
)
PATTERNS = (
    "ip_conntrack",
    "ip_*",
    "nf_conntrack_*",
    "br[a-f]*",
    "x?_state",
    "net-pf-?",
    "ipt-state",
    "a*b",
    "nf[-_]x",
    "*y",
)
ASKED = (
    *NAMES,
    MODULE,
    "ip_conntrack",
    "ip_x",
    "nf_conntrack_tftp",
    "brf",
    "xy_state",
    "net_pf_2",
    "ipt_state",
    "nf-x",
    "gone",
    "aab",
    "zy",
)
"""Nothing is asked for that stands for several modules at once but through modprobe.d."""


def module(name: str, needs: Sequence[str], told: Sequence[str]) -> bytes:
    """An object file with a symbol of its own and those of the modules that it needs, and what modinfo tells of it."""
    symbols = b"\0" + b"".join(f"of_{need}\0".encode() for need in needs)
    table, at = bytes(24), 1
    for need in needs:
        table += struct.pack("<IBBHQQ", at, 0x10, 0, 0, 0, 0)
        at += len(need) + 4
    sections = [
        (".modinfo", 1, "\0".join([*told, ""]).encode(), 0),
        ("__ksymtab_strings", 1, f"of_{name}\0".encode(), 0),
        (".symtab", 2, table, 4),
        (".strtab", 3, symbols, 0),
    ]
    titles = b"\0" + b"".join(title.encode() + b"\0" for title, *_rest in sections) + b".shstrtab\0"
    sections.append((".shstrtab", 3, titles, 0))
    body, heads, offset = b"", bytes(64), 64
    for title, kind, content, link in sections:
        entry = 24 if kind == 2 else 0
        heads += struct.pack(
            "<IIQQQQIIQQ", titles.index(title.encode()), kind, 0, 0, offset, len(content), link, 1, 1, entry
        )
        body, offset = body + content, offset + len(content)
    ident = b"\x7fELF\2\1\1" + bytes(9)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 1, 62, 1, 0, 0, offset, 0, 64, 0, 0, 64, len(sections) + 1, len(sections)
    )
    return head + body + heads


def lay_out(root: Path, chance: random.Random) -> None:
    home = root / "lib/modules" / RELEASE
    shutil.rmtree(root, ignore_errors=True)
    (root / "etc/modprobe.d").mkdir(parents=True)
    there = [MODULE, *chance.sample(NAMES, chance.randrange(2, len(NAMES)))]
    chance.shuffle(there)
    builtin = chance.choice([name for name in there if name != MODULE])
    aliases = iter(chance.sample(PATTERNS, len(PATTERNS)))
    for place, name in enumerate(there):
        needs = chance.sample(there[:place], chance.randrange(min(place, 2) + 1))
        told = [f"alias={next(aliases, name)}" for _one in range(chance.randrange(3))]
        told += [a_softdep(chance, there)] * (chance.randrange(3) == 0)
        path = home / "kernel" / chance.choice(("net", "net/ipv4", "drivers")) / f"{name}.ko"
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == builtin:
            (home / "modules.builtin").write_text(f"kernel/{path.relative_to(home / 'kernel')}\n")
            continue
        content = module(name, [need for need in needs if need != builtin], told)
        if chance.randrange(3) == 0:
            path, content = path.with_suffix(".ko.xz"), lzma.compress(content, check=lzma.CHECK_CRC32)
        path.write_bytes(content)
    (home / "modules.order").touch()
    lines = []
    for _line in range(chance.randrange(5)):
        one, other = chance.choice(there), chance.choice(there)
        lines.append(
            chance.choice(
                (
                    f"alias {chance.choice(ASKED)} {other}",
                    f"alias {chance.choice(PATTERNS)} {other}",
                    f"softdep {one} {a_softdep(chance, there).partition('=')[2]}",
                    f"softdep {chance.choice(PATTERNS)} pre: {other}",
                    f"install {one} /bin/true" if one not in (MODULE, builtin) else "",
                )
            )
        )
    (root / "etc/modprobe.d/a.conf").write_text("\n".join(lines) + "\n")
    depmod(root, RELEASE)


def a_softdep(chance: random.Random, there: Sequence[str]) -> str:
    words = [chance.choice(("pre:", "post:")), *chance.sample((*there, "ip_conntrack", "gone"), 2)]
    return "softdep=" + " ".join(words + chance.choice(([], ["post:", chance.choice(there)])))


def depmod(root: Path, release: str) -> None:
    subprocess.run([tool("depmod"), "-b", root, release], stderr=subprocess.DEVNULL, check=True)


def tool(name: str) -> str:
    found = shutil.which(name, path=PATH)
    said = subprocess.run([found, "-V"], capture_output=True, text=True, check=False).stdout if found else ""
    if not found or "kmod version" not in said:
        pytest.skip(f"kmod's {name} is not installed")
    return found


def loads(root: Path, release: str, name: str) -> bool:
    """Whether modprobe would load the module for a name."""
    command = [tool("modprobe"), "-d", root, "-S", release, "-C", root / "etc/modprobe.d", "-D", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return re.search(rf"^insmod .*/{MODULE}\.ko", done.stdout, re.M) is not None


def read(root: Path, release: str, names: Sequence[str]) -> Iterator[bool]:
    """The same from the collection."""
    host = Host(str(root))
    text = host.read("/etc/modprobe.d/a.conf") or ""
    modules = Modules(host, release, list(modprobe.parse("/etc/modprobe.d/a.conf", text)))
    for name in names:
        named = modules.named(name.replace("-", "_"))
        yield any(modules.brings(one, MODULE) for one in named)


def without_indexes(root: Path, release: str) -> None:
    for index in (root / "lib/modules" / release).glob("*.bin"):
        index.unlink()


def test_as_modprobe_does(tmp_path: Path) -> None:
    brought = 0
    for number in range(KERNELS):
        chance = random.Random(SEED * 1000003 + number)
        root = tmp_path / "root"
        lay_out(root, chance)
        asked = chance.sample(ASKED, 8)
        said = [loads(root, RELEASE, name) for name in asked]
        assert list(read(root, RELEASE, asked)) == said, as_text(root, number, asked)
        without_indexes(root, RELEASE)
        assert list(read(root, RELEASE, asked)) == said, "the texts of\n" + as_text(root, number, asked)
        brought += sum(said)
    assert brought >= KERNELS


def as_text(root: Path, number: int, asked: Sequence[str]) -> str:
    home = root / "lib/modules" / RELEASE
    names = ("modules.dep", "modules.alias", "modules.softdep", "modules.builtin")
    paths = [root / "etc/modprobe.d/a.conf", *(home / name for name in names)]
    return "\n".join([f"{number}: {asked}", *(f"{path.name}:\n{path.read_text()}" for path in paths if path.exists())])


@pytest.mark.parametrize("packed", ["", "xz", "gz"])
def test_parameters_are_those_of_modinfo(tmp_path: Path, packed: str) -> None:
    told = ["parm=hashsize:buckets", "parmtype=hashsize:uint", "parmtype=vendors_own:bool", "description=parm=x:y"]
    content = module(MODULE, [], told)
    path = tmp_path / "lib/modules" / RELEASE / f"kernel/{MODULE}.ko"
    path.parent.mkdir(parents=True)
    if packed == "gz":
        packer = zlib.compressobj(wbits=31)
        content = packer.compress(content) + packer.flush()
    elif packed:
        content = lzma.compress(content)
    path = path.with_suffix(f".ko.{packed}") if packed else path
    path.write_bytes(content)
    home = tmp_path / "lib/modules" / RELEASE
    (home / "modules.order").touch()
    # kmod may lack gzip.
    (home / "modules.dep").write_text(f"kernel/{path.name}:\n")
    assert Modules(Host(str(tmp_path)), RELEASE, []).parameters(MODULE) == {"hashsize", "vendors_own"}
    if not packed:
        said = subprocess.run([tool("modinfo"), "-p", path], capture_output=True, text=True, check=True).stdout
        assert {line.partition(":")[0] for line in said.splitlines()} == {"hashsize", "vendors_own"}


@pytest.mark.skipif("KERNEL_TREE" not in os.environ, reason="KERNEL_TREE names none")
def test_as_modprobe_does_over_a_distributions_kernel() -> None:
    root = Path(os.environ["KERNEL_TREE"])
    (home,) = (root / "lib/modules").iterdir()
    paths = [line.partition(":")[0] for line in (home / "modules.dep").read_text().splitlines()]
    aliases = [line.split()[1] for line in (home / "modules.alias").read_text().splitlines()[1:]]
    names = [Path(path).name.partition(".")[0] for path in paths]
    names += [re.sub(r"\*", "x", alias) for alias in aliases if "net" in alias or "nf" in alias or "conntrack" in alias]
    names += [
        "nf_conntrack_ipv4",
        "nf_conntrack_ipv6",
        "nf_nat_ipv4",
        "xt_NOTRACK",
        "ipt_NOTRACK",
        "ipt_state",
        "ip_conntrack_ftp",
    ]
    found = dict(zip(names, read(root, home.name, names)))
    wrong = {name: is_brought for name, is_brought in found.items() if loads(root, home.name, name) != is_brought}
    assert not wrong
    assert sum(found.values()) > 50
