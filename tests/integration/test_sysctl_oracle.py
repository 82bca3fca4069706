# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What would win at boot is what the real systemd-sysctl, procps and kernel leave, over folders laid out at random.

Each layout is the root directory of the real program, with plain files for /proc/sys: nothing of this machine is
changed. What the kernel makes of a value is asked of its own timeouts in a network namespace that ends with the test.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import programs
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

sys.path.insert(0, str(Path(__file__).parents[5]))
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import sysctl
from ansible_collections.headroom.netfilter.tests.unit.plugins.module_utils._conntrack.sources.test_sysctl import (
    LINES,
    PROCPS_LINES,
)

SYSTEMD = Path("/usr/lib/systemd/systemd-sysctl")
PROCPS = Path("/usr/sbin/sysctl")
EXTRA, UNIT = "etc/credstore/sysctl.extra", "usr/lib/systemd/system/systemd-sysctl.service"
SWAPPED = str.maketrans("./", "/.")
# Older ones say it from /proc/sys on, and end the sentence.
SETTING = r"^Setting '(?:/proc/sys/)?(.*)' to '(.*)'\.?$"
NOTES = tempfile.mkdtemp(prefix="hypothesis-")
atexit.register(shutil.rmtree, NOTES, ignore_errors=True)
set_hypothesis_home_dir(NOTES)


def of(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


MAX, ALIAS = "net.netfilter.nf_conntrack_max", "net.nf_conntrack_max"
KEYS = (
    MAX,
    ALIAS,
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "net.netfilter.nf_conntrack_tcp_timeout_close",
    "net.netfilter.nf_conntrack_udp_timeout",
    "net.core.somaxconn",
)
PLACES = tuple(f"{home}/sysctl.d" for home in ("etc", "run", "usr/local/lib", "usr/lib", "lib"))


# Files below a root: a text, a link's target, or None for a directory.
Layout = dict[str, "bytes | str | None"]


def spelled(key: str, plain: bool) -> st.SearchStrategy[str]:
    slashed = key.replace(".", "/")
    if plain:
        return st.sampled_from((key, slashed, key.replace("_", "-")))
    odd = (f"/{slashed}", f"/proc/sys/{slashed}", slashed.replace("/", "//", 1), key.replace(".", "..", 1))
    odder = (f"./{slashed}", f".{key}", slashed.replace("/", "/./"), key.replace(".", "/", 1), f"{slashed}/", f"{key}x")
    last = (key.upper(), slashed.replace("/", ".", 1), f"{slashed}/../nf_conntrack_max", key.replace("_", "-"))
    return st.one_of(st.sampled_from((key, key, slashed)), st.sampled_from((*odd, *odder, *last)))


# Few keys and values, so that lines meet.
SPELLINGS = [
    st.one_of(
        st.sampled_from((MAX, ALIAS)), st.sampled_from(KEYS).flatmap(lambda key, plain=plain: spelled(key, plain))
    )
    for plain in (False, True)
]
PLAIN_GLOBS = st.sampled_from(
    (
        "net.netfilter.*",
        "net/netfilter/nf_conntrack_*",
        "net.netfilter.nf_conntrack_tcp_timeout_*",
        "net/*/nf_conntrack_max",
        "net.*",
        "*/*/*",
        "net/nf_conntrack_m?x",
        "net.netfilter.nf_conntrack_[bm]*",
        "net.netfilter.nf_conntrack_[!m]*",
        "net.netfilter.nf_conntrack_[^a-m]*",
        "net/netfilter/nf_conntrack_[a-]*",
        "net/netfilter/nf_conntrack_[]m]a[x]",
        "net/netfilter/*timeout*",
        "net.netfilter.**x*",
        "net/netfilter/nf_conntrack_[[:alpha:]]*",
        "net.netfilter.nf_conntrack_[![:digit:][:upper:]m]*",
    )
)
BRACES = st.sampled_from(
    (
        "net.netfilter.nf_conntrack_{max,buckets}",
        "net.netfilter.nf_*_{max,buckets}",
        "net/netfilter/nf_conntrack_{m*,udp_{timeout,x}}",
        "net/{netfilter/nf_conntrack_ma?,nf_conntrack_m[a]x}",
        "net/{core,netfilter}/*",
        "net/netfilter/*_{max",
        "net/netfilter/{*_max,\\{a,b\\}}",
        "net/netfilter/*{}max",
        "n{e,a}t/n*/{nf,x}_conntrack_{udp,tcp}_*",
    )
)
GLOBS = st.one_of(
    PLAIN_GLOBS,
    st.sampled_from(
        (
            "net/netfilter/nf_conntrack_[m",
            "net/n[a/f]*/*",
            "net/netfilter/*\\_max",
            "n\\et/netfilter/*_[\\m]ax",
            "net/netfilter//nf*max",
            "net/../net/netfilter/*",
        )
    ),
    st.text("netfilr_max*?[]!^-./\\", min_size=1, max_size=6).map("net/netfilter/nf_*".__add__),
)
NUMBERS = st.sampled_from(("1", "2", "262144", "131072", "2147483647", "0x40", "010"))
VALUES = st.one_of(
    st.sampled_from(("5", "6")),
    st.sampled_from(("5", "6")),
    NUMBERS,
    st.sampled_from(
        ("", "many", "-1", "2147483648", "5 7", "5\t7", "5x", "08", "=7", "0x", "#5", "5 # comment", "'5'", "\\")
    ),
)
BLANKS = st.sampled_from(("", "", " ", "\t", "  "))


@st.composite
def lines(draw: st.DrawFn, plain: bool) -> str:
    """One line, most often an assignment of one of KEYS; a plain one is what systemd and procps read alike."""
    kind = draw(st.sampled_from("ssssssggeExc" if plain else "ssssssggeExcd"))
    if kind == "c":
        return draw(st.sampled_from(("", "# net.nf_conntrack_max = 3", "; net.nf_conntrack_max = 3", " \t", "#", "-")))
    if kind == "d":
        return draw(st.sampled_from(("net.nf_conntrack_max", "= 5", "-= 5", "net.nf_conntrack_max 5", "\ufeff", "=")))
    name = draw(PLAIN_GLOBS if plain else st.one_of(GLOBS, GLOBS, BRACES)) if kind == "g" else draw(SPELLINGS[plain])
    if kind in "eE":
        return draw(BLANKS) + "-" + (draw(GLOBS) if kind == "E" and not plain else name)
    dash = draw(st.sampled_from(("", "", "", "-") if plain else ("", "", "", "-", "- ", "--")))
    comment = draw(st.sampled_from(("", "", "", "", "#", ";")))
    before, between, value, after = draw(BLANKS), draw(BLANKS), draw(VALUES), draw(BLANKS)
    return before + comment + dash + name + draw(BLANKS) + "=" + between + value + after


# Ways back by .. are left out of what procps reads.
WAYS = {True: (b"", b"", 0), False: (b"..", b".")}


def texts(plain: bool, odd: bool) -> st.SearchStrategy[bytes]:
    more = ("\r", "\0", "\n\r", "\\\n", "\udcff\n", "\n\udcff\udc80\n") if odd else ()
    return st.lists(
        st.tuples(lines(plain), st.sampled_from(("\n", "\n", "\n", "\n", "\r\n", "\n\n", *more))), max_size=6
    ).map(
        lambda found: "".join(line + end for line, end in found).encode("utf-8", "surrogateescape").replace(*WAYS[odd])
    )


PLAIN_NAMES = (
    "10-a.conf",
    "50-b.conf",
    "99-sysctl.conf",
    "99-conntrack.conf",
    "Z.conf",
    "zz.conf",
    "99-.conf",
    "README",
)
NAMES = (
    *PLAIN_NAMES,
    "\u00e4.conf",
    "\U0001f600.conf",
    "\udcff.conf",
    ".hidden.conf",
    ".conf",
    "x.conf~",
    "99-sysctl.conf.bak",
)
TARGETS = ("/dev/null", "../sysctl.conf", "/etc/sysctl.conf", "nowhere", "../../etc/./sysctl.d/10-a.conf", "50-b.conf")


def layouts(plain: bool, odd: bool) -> st.SearchStrategy[Layout]:
    """With lines that are ``plain``, or with names and ends of lines that are ``odd``."""
    text = texts(plain, odd)
    entry = st.one_of(text, text, text, st.sampled_from(TARGETS), st.sampled_from((b"", None)))
    where = st.tuples(
        st.sampled_from(PLACES),
        st.one_of(st.sampled_from(PLAIN_NAMES[:2]), st.sampled_from(NAMES if odd else PLAIN_NAMES)),
    )
    found = st.dictionaries(where.map("/".join), entry, min_size=2, max_size=7)
    return st.builds(lambda conf, rest: {"etc/sysctl.conf": conf, **rest}, text, found)


PREFIXES = st.lists(
    st.sampled_from(
        ("/net/netfilter", "net/netfilter", "net.netfilter", "/net/", "/proc/sys/net/netfilter", ALIAS, MAX, "net/netf")
    ),
    max_size=2,
)


class Jail:
    """A root directory with a program, what it is linked with, and a fake /proc/sys."""

    def __init__(self, root: Path, program: Path, tree: Path = Path("/")) -> None:
        self.root, self.program, self.tree = root, program, tree
        self.bring(program, str(program).lstrip("/"))
        (root / "dev").mkdir()
        (root / "dev/null").touch()
        for key in KEYS:
            self.file(key).parent.mkdir(parents=True, exist_ok=True)
            if key == ALIAS:
                os.link(self.file(MAX), self.file(key))
            else:
                self.file(key).touch()

    def bring(self, program: Path, where: str) -> None:
        """Also what it is linked with."""
        # What ldd does, which a tree without a shell has not.
        loader = next(path for path in sorted(self.tree.glob("lib*/ld-linux*.so.*")))
        list_them = ["chroot", self.tree, Path("/", *loader.relative_to(self.tree).parts), "--list", program]
        listed = subprocess.run(list_them, capture_output=True, text=True, check=True).stdout
        for path, name in [(str(program), where), *((path, path) for path in re.findall(r"(/\S+)(?= \(| =>)", listed))]:
            copy = self.root / name.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            there = self.tree / path.lstrip("/")
            while there.is_symlink():
                # An absolute link is one within the tree.
                target = there.readlink()
                there = self.tree / str(target)[1:] if target.is_absolute() else there.parent / target
            shutil.copy(there, copy)

    def file(self, key: str) -> Path:
        return self.root / "proc/sys" / key.replace(".", "/")

    def lay_out(self, layout: Layout) -> None:
        for place in PLACES:
            shutil.rmtree(self.root / place, ignore_errors=True)
            (self.root / place).mkdir(parents=True)
        for path, entry in layout.items():
            target = os.path.join(os.fsencode(self.root), path.encode("utf-8", "surrogateescape"))
            if entry is None:
                os.mkdir(target)
            elif isinstance(entry, str):
                os.symlink(entry, target)
            else:
                with open(target, "wb") as opened:
                    opened.write(entry)

    def run(self, *arguments: str, **variables: str) -> str:
        """What the program says; the fake kernel's files say "untouched" before it."""
        for key in KEYS:
            self.file(key).write_text("untouched\n")
        command = ["chroot", self.root, f"/{self.program.relative_to('/')}", *arguments]
        loud = {**os.environ, "SYSTEMD_LOG_LEVEL": "debug", "SYSTEMD_LOG_TARGET": "console", "LC_ALL": "C", **variables}
        done = subprocess.run(command, env=loud, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return done.stdout.decode("utf-8", "replace")

    def left(self, written: list[tuple[str, str]]) -> dict[str, str]:
        """The values after these writes: as the files have them, less what a kernel would have refused."""
        last = dict.fromkeys(map(variable, KEYS), "untouched")
        taken: dict[str, str] = {}
        for path, value in written:
            key = os.path.normpath("/" + path).lstrip("/").translate(SWAPPED)
            if key in KEYS:
                last[variable(key)] = value
                if sysctl.number(key, value) is not None:
                    taken[variable(key)] = value
        for name, value in last.items():
            assert self.file(name).read_bytes().decode("utf-8", "replace").split("\n")[0] == value
        return {key: taken[variable(key)] for key in KEYS if variable(key) in taken}


def variable(key: str) -> str:
    return MAX if key == ALIAS else key


def jail_of(tmp_path_factory: pytest.TempPathFactory, program: Path, tree: Path = Path("/")) -> Jail:
    """With the program as a tree has it."""
    found = next((path for path in (program, Path("/", *program.parts[2:])) if (tree / str(path)[1:]).exists()), None)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return Jail(tmp_path_factory.mktemp("jail"), found, tree)


OF_RELEASES = ("base-files", "systemd", "procps")


@pytest.fixture(scope="module")
def newer_systemd(tmp_path_factory: pytest.TempPathFactory) -> Jail:
    return jail_of(tmp_path_factory, SYSTEMD, programs.release("trixie", *OF_RELEASES))


@pytest.fixture(scope="module")
def older_systemd(tmp_path_factory: pytest.TempPathFactory) -> Jail:
    return jail_of(tmp_path_factory, SYSTEMD, programs.release("bullseye", *OF_RELEASES))


@pytest.fixture(scope="module")
def newer_procps(tmp_path_factory: pytest.TempPathFactory) -> Jail:
    # That of bullseye, procps 3, knows no globs and no second dash: it has another language.
    return jail_of(tmp_path_factory, PROCPS, programs.release("trixie", *OF_RELEASES))


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Jail:
    return jail_of(tmp_path_factory, SYSTEMD)


@pytest.fixture(scope="module")
def procps(tmp_path_factory: pytest.TempPathFactory) -> Jail:
    return jail_of(tmp_path_factory, PROCPS)


def values(found: dict[str, sysctl.Assignment]) -> dict[str, str | None]:
    return {key: line.value for key, line in found.items()}


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in LINES], ids=[case[0] for case in LINES])
def test_what_is_expected_of_lines_is_what_systemd_does(systemd: Jail, text: str, expected: dict[str, str]) -> None:
    systemd.lay_out({"etc/sysctl.d/a.conf": text.encode("utf-8", "surrogateescape")})
    left = systemd.left(re.findall(SETTING, systemd.run(), re.M))
    assert left == {key: said.partition(" ")[2] for key, said in expected.items()}


@pytest.mark.parametrize(
    ("text", "expected"), [case[1:] for case in PROCPS_LINES], ids=[case[0] for case in PROCPS_LINES]
)
def test_what_is_expected_of_lines_is_what_procps_does(procps: Jail, text: str, expected: dict[str, str]) -> None:
    procps.lay_out({"etc/sysctl.conf": text.encode()})
    left = procps.left(of_procps(procps.run("--system")))
    assert left == {key: said.partition(" ")[2].strip() for key, said in expected.items()}


def of_procps(said: str) -> list[tuple[str, str]]:
    return [(name.translate(SWAPPED), value) for name, value in re.findall(r"^(\S+) = (.*)$", said, re.M)]


@of(examples=50)
@given(layout=layouts(plain=False, odd=False), extra=texts(plain=False, odd=False), prefixes=PREFIXES)
def test_the_credential_of_systemd(systemd: Jail, layout: Layout, extra: bytes, prefixes: list[str]) -> None:
    """The service has it, a call that has no credentials knows nothing of it."""
    systemd.lay_out(layout)
    for path, text in ((EXTRA, extra), (UNIT, b"[Service]\nLoadCredential=sysctl.extra\n")):
        (systemd.root / path).parent.mkdir(parents=True, exist_ok=True)
        (systemd.root / path).write_bytes(text)
    host = Host(str(systemd.root))
    options = [f"--prefix={prefix}" for prefix in prefixes]
    lines = sysctl.assignments(host)
    assert values(sysctl.effective(lines, KEYS, prefixes)) == systemd.left(
        re.findall(SETTING, systemd.run(*options), re.M)
    )
    said = systemd.run(*options, CREDENTIALS_DIRECTORY=f"/{os.path.dirname(EXTRA)}")
    lines += sysctl.credential(host) or []
    assert values(sysctl.effective(lines, KEYS, prefixes)) == systemd.left(re.findall(SETTING, said, re.M)), said


@of(examples=600)
@given(layout=layouts(plain=False, odd=True), prefixes=PREFIXES)
def test_systemd(systemd: Jail, layout: Layout, prefixes: list[str]) -> None:
    as_systemd_leaves_it(systemd, layout, prefixes)


@of(examples=150)
@given(layout=layouts(plain=False, odd=True), prefixes=PREFIXES)
def test_a_newer_systemd(newer_systemd: Jail, layout: Layout, prefixes: list[str]) -> None:
    # There /lib is another name of /usr/lib, and systemd no longer looks there.
    layout = {path: entry for path, entry in layout.items() if not path.startswith("lib/")}
    as_systemd_leaves_it(newer_systemd, layout, prefixes)


@of(examples=150)
@given(layout=layouts(plain=True, odd=False))
def test_an_older_systemd(older_systemd: Jail, layout: Layout) -> None:
    """systemd 247, of which two things are otherwise: it asks what a glob has found for its prefix, where later ones ask the glob, and
    it takes a way back by .. for a key of its own."""
    as_systemd_leaves_it(older_systemd, layout, [])


def as_systemd_leaves_it(systemd: Jail, layout: Layout, prefixes: list[str]) -> None:
    systemd.lay_out(layout)
    said = systemd.run(*(f"--prefix={prefix}" for prefix in prefixes))
    left = systemd.left(re.findall(SETTING, said, re.M))
    lines = sysctl.assignments(Host(str(systemd.root)))
    assert values(sysctl.effective(lines, KEYS, prefixes)) == left, said


@of(examples=400)
@given(layout=st.one_of(layouts(plain=True, odd=False), layouts(plain=False, odd=False)))
def test_procps(procps: Jail, layout: Layout) -> None:
    as_procps_leaves_it(procps, layout)


@of(examples=150)
@given(layout=st.one_of(layouts(plain=True, odd=False), layouts(plain=False, odd=False)))
def test_a_newer_procps(newer_procps: Jail, layout: Layout) -> None:
    as_procps_leaves_it(newer_procps, layout)


def as_procps_leaves_it(procps: Jail, layout: Layout) -> None:
    procps.lay_out(layout)
    said = procps.run("--system")
    left = procps.left(of_procps(said))
    lines = sysctl.assignments(Host(str(procps.root)), procps=True)
    assert values(sysctl.effective(lines, KEYS, procps=True)) == left, said


@of(examples=20)
@given(st.lists(st.text("0123456789xXaf-+ \t\v,.", max_size=24), min_size=29, max_size=29))
@example(
    ["5", "-1", "-0", "0x10", "0X1f", "010", "08", "0x", "5x", "5 7", "5\t7", "\v5", "5\v", "+5", "", "- 5", "5 08"]
    + [
        "0" * 19 + "5",
        "0" * 20 + "5",
        "-" + "0" * 18 + "5",
        "-" + "0" * 19 + "5",
        "2147483",
        "7158279",
        "8589934",
        "8589935",
        "21474837",
        "9" * 24,
    ]
)
def test_kernel(values_asked: list[str]) -> None:
    """One timeout for each value; a new network namespace has all of them, and they are its own."""
    script = """cd /proc/sys/net/netfilter; for key in *_timeout*; do
        [ $# -gt 0 ] || break; echo 777 > "$key"; printf '%s\\n' "$1" 2>&- > "$key"; cat "$key"; shift; done"""
    command = ["unshare", "--net", "sh", "-c", script, "sh", *values_asked]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    now = [int(line) for line in said.splitlines()]
    bounds = kernel.bounds(os.uname().release, 8, Host().ticks(os.uname().release))
    # As many as every kernel has, of TCP, UDP, ICMP and the rest.
    assert len(now) >= 15
    for value, found in zip(values_asked, now):
        expected = sysctl.number("net.netfilter.nf_conntrack_udp_timeout", value, bounds)
        assert found == (777 if expected is None else expected), repr(value)
