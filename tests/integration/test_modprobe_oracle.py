# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Layouts of modprobe.d at random: what the collection reads in them is what the real modprobe says it would do.

modprobe runs in a folder of its own (chroot), with modules that are empty files: nothing of this machine is read, loaded
or written. ORACLE_LAYOUTS and ORACLE_SEED ask for more layouts, and for others.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[5]))
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import modprobe

LAYOUTS = int(os.environ.get("ORACLE_LAYOUTS", "300"))
SEED = int(os.environ.get("ORACLE_SEED", "4"))
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
CHROOT = shutil.which("chroot", path=PATH) or "chroot"
VERSION = "1.0"
MODULE = "nf_conntrack"
FOLDERS = ("etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d")


class Said(NamedTuple):
    """What a load is given, or the command that replaces it; None where modprobe loads nothing."""

    options: list[str]
    install: str | None
    configuration: list[str]  # install and alias, and whether it is blacklisted


def one_blank(text: str) -> str:
    return re.sub("[ \t]+", " ", text).strip(" ")


class Root:
    """A file system with modprobe and little else."""

    def __init__(self, root: Path, kmod: str) -> None:
        self.root = root
        for folder in (*FOLDERS, "proc", "usr/sbin", f"usr/lib/modules/{VERSION}/kernel"):
            (root / folder).mkdir(parents=True)
        (root / "lib").symlink_to("usr/lib")
        # What is no file at all is another matter, kmod 34 takes no notice of it.
        (root / "dev").mkdir()
        (root / "dev/null").touch()
        shutil.copy(kmod, root / "usr/sbin/modprobe")
        needed = subprocess.run(["ldd", kmod], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", needed):
            copy = root / library.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, copy)
        for module in (MODULE, "other"):
            (root / f"usr/lib/modules/{VERSION}/kernel/{module}.ko").touch()
        # It complains that an empty file is no module, and lists it.
        depmod = Path(kmod).with_name("depmod")
        subprocess.run([depmod, "-b", root, VERSION], stderr=subprocess.DEVNULL, check=True)

    def modprobe(self, *arguments: str) -> str:
        command = [CHROOT, self.root, "/usr/sbin/modprobe", "-S", VERSION, *arguments]
        done = subprocess.run(command, capture_output=True, check=False)
        return done.stdout.decode("utf-8", "replace")

    def clear(self) -> None:
        for folder in FOLDERS:
            for path in (self.root / folder).iterdir():
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    def said(self, name: str) -> Said:
        """``install COMMAND OPTIONS`` where a command replaces the load, ``insmod FILE OPTIONS`` where none does.

        Those of a softdep come as well.
        """
        lines = [one_blank(line) for line in self.modprobe("-c").partition("# End of")[0].split("\n")]
        wanted = re.compile(rf"(install|alias) .*|blacklist {MODULE}", re.S)
        configuration = sorted({line for line in lines if wanted.fullmatch(line)})
        loads = self.modprobe("-D", name).split("\n")
        for line in loads:
            if line.startswith("insmod") and f"/{MODULE}.ko" in line:
                return Said(line.partition(".ko")[2].split(), None, configuration)
        for line in loads:
            if line.startswith("install "):
                return Said([], " ".join(line.split()[1:]), configuration)
        return Said([], None, configuration)

    def read(self, name: str) -> Said:
        """The same from the collection."""
        host = Host(str(self.root))
        files = modprobe.configuration_files(host)
        lines = [line for path in files for line in modprobe.parse(path, host.read(path) or "")]
        taken = [line for line in lines if line.command]
        command_line = host.read("/proc/cmdline") or ""
        aliases = modprobe.aliases(taken, name)
        alias = aliases[0].name if aliases else ""
        options = " ".join(line.rest for line in modprobe.given(taken, command_line, MODULE, alias)).split()
        install, dependency = modprobe.install(taken, MODULE)
        known = [f"{line.command} {line.name} {line.rest}" for line in taken if line.command in ("install", "alias")]
        if modprobe.blacklisted(taken, command_line, MODULE):
            known.append(f"blacklist {MODULE}")
        known = sorted({one_blank(line) for line in known})
        # By its own name a module loads although it is blacklisted.
        if alias and f"blacklist {MODULE}" in known:
            return Said([], None, known)
        if install is None or dependency:
            return Said(options, None, known)
        return Said([], " ".join([*install.rest.split(), *options]), known)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")
    kmod = shutil.which("modprobe", path=PATH)
    if (
        not kmod
        or "kmod version" not in subprocess.run([kmod, "-V"], capture_output=True, text=True, check=False).stdout
    ):
        pytest.skip("kmod's modprobe is not installed")
    return Root(tmp_path_factory.mktemp("root"), kmod)


NAMES = (
    "nf_conntrack",
    "nf-conntrack",
    "nf_conntrack",
    "other",
    "nickname",
    "nf_conn*",
    "nf[_-]conntrack",
    "nf_[x",
    "nf]",
)
VALUES = (
    "hashsize=65536",
    "hashsize=0x400",
    "hashsize",
    "=",
    "5",
    "acct=1",
    'hashsize="512"',
    '"acct',
    'a b"',
    "tstamp",
)
BLANKS = (" ", " ", " ", "  ", "\t", " \\\n ", "\\\n", "\\ ", "\r", "\v", "\\\\", "\0", "\u2028")


COMMANDS = ("/bin/true", "/sbin/modprobe -i nf_conntrack $CMDLINE_OPTS && sysctl -p")
DEPENDS = (
    "pre: other",
    "post: other",
    "pre:",
    "pre: post:",
    " pre: other",
    "  pre: other",
    " pre: post: other",
    "other",
)


def a_line(chance: random.Random) -> str:
    name, values = chance.choice(NAMES), chance.sample(VALUES, chance.randrange(4))
    usual = chance.randrange(3) > 0
    line = chance.choice(
        [["options", name, *values]] * 6
        + [
            ["install", name, chance.choice(COMMANDS)],
            ["softdep", name, chance.choice(DEPENDS)],
            ["blacklist", name],
            ["alias", chance.choice(("nickname", "nick*", "other-name")), "nf-conntrack"],
            ["# options", name, "hashsize=1"],
            chance.choice((["option", name, "hashsize=2"], [], ["config"], ["#\\"])),
        ]
    )
    if usual:
        return " ".join(line)
    end = chance.choice(("", " ", "\t", "\r"))
    return chance.choice(("", " ", "\t")) + chance.choice(BLANKS).join(line) + end


def a_command_line(chance: random.Random) -> str:
    words = []
    for _word in range(chance.randrange(5)):
        name, value = chance.choice(("nf_conntrack", "nf-conntrack", "other", "modprobe")), chance.choice(VALUES)
        word = chance.choice((f"{name}.{value}", f"{name}.hashsize=7", "modprobe.blacklist=nf-conntrack,nf_conntrack"))
        words.append(
            chance.choice((word, word, f'"{word}"', f"{word}.x", f'x"{word}', word.replace("=", '="', 1) + ' y"'))
        )
    return chance.choice((" ", " ", "  ", "\t")).join(["quiet", "a.b", *words, "ro"]) + "\n"


def lay_out(root: Root, chance: random.Random) -> None:
    root.clear()
    for folder in FOLDERS:
        for name in chance.sample(
            ("a.conf", "b.conf", "z.conf", "B.conf", ".h.conf", "c", "c.conf~"), chance.randrange(4)
        ):
            path, kind = root.root / folder / name, chance.randrange(12)
            if kind == 0:
                path.symlink_to("/dev/null")
            elif kind == 1:
                path.mkdir()
            elif kind == 2:
                path.touch()
            else:
                text = "\n".join(a_line(chance) for _line in range(chance.randrange(5)))
                path.write_bytes((text + chance.choice(("", "\n"))).encode())
    (root.root / "proc/cmdline").write_text(a_command_line(chance))


def as_text(root: Root) -> str:
    found = []
    for folder in FOLDERS:
        for path in sorted((root.root / folder).iterdir()):
            found.append(f"{folder}/{path.name}: {path.read_bytes() if path.is_file() else path.lstat().st_mode}")
    return "\n".join([*found, (root.root / "proc/cmdline").read_text()])


def test_as_modprobe_does(root: Root) -> None:
    """Each layout both for the module by its name and for an alias that leads to it."""
    compared = 0
    for number in range(LAYOUTS):
        chance = random.Random(SEED * 1000003 + number)
        lay_out(root, chance)
        for name in (MODULE, "nickname"):
            said, read = root.said(name), root.read(name)
            if name != MODULE and root.modprobe("-R", name).split("\n")[0] != MODULE:
                continue
            assert read == said, f"{number} {name}\n{as_text(root)}"
            compared += 1
    assert compared >= LAYOUTS
