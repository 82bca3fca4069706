# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What the next load does, who loads at boot, what udev runs: from the files of a host."""

import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome import loading as _loading
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.assignments import assignments
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.fold import predict
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.modprobe import place
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.udev import Sysctl, sysctl_call
from ansible_collections.headroom.netfilter.tests.unit import examples

A = "etc/modprobe.d/a.conf"
B = "etc/modprobe.d/b.conf"
CMDLINE = "proc/cmdline"
BOOT = "kernel command line"


def host(root, files):
    """``files``: text by path; a text that begins with -> is a link, None a directory."""
    for path, text in files.items():
        real = os.path.join(str(root), path)
        os.makedirs(os.path.dirname(real), exist_ok=True)
        if text is None:
            os.mkdir(real)
        elif text.startswith("->"):
            os.symlink(text[2:], real)
        else:
            with open(real, "w", encoding="utf-8", newline="") as target:
                target.write(text)
    return Host(str(root))


def told(there, builtin=False):
    return assignments(there, examples.facts({"state": "builtin" if builtin else "loaded"}), ())[0]


def loading(there, builtin=False, version=(6, 1)):
    return _loading.loading(told(there, builtin), "nf_conntrack", version, builtin)


def source(parameter):
    return (parameter.number, parameter.source) if parameter else (None, None)


def refused(found):
    """The place of what makes the load fail."""
    return found.refused and place(found.refused.path, found.refused.line)


def said(problem):
    return "{0}: {1}".format(place(problem.path, problem.line), problem.said)


def options(*parameters):
    return "options nf_conntrack {0}\n".format(" ".join(parameters))


HASHSIZE = [
    ("nothing", {}, None, None),
    ("a line", {A: options("hashsize=65536")}, 65536, "/" + A + ":1"),
    ("another module", {A: "options nf_nat hashsize=1\n"}, None, None),
    ("a dash", {A: "options nf-conntrack hashsize=5\n"}, 5, "/" + A + ":1"),
    ("the last line wins", {A: options("hashsize=1") + "\n" + options("hashsize=2")}, 2, "/" + A + ":3"),
    ("the last of a line wins", {A: options("hashsize=1", "hashsize=2")}, 2, "/" + A + ":1"),
    ("the last file wins", {A: options("hashsize=1"), B: options("acct=1", "hashsize=2")}, 2, "/" + B + ":1"),
    ("quotes", {A: options('hashsize="7"')}, 7, "/" + A + ":1"),
    ("quotes around all", {A: options('"hashsize=7"')}, 7, "/" + A + ":1"),
    ("quotes that swallow the next line", {A: options('dyndbg="+p') + options("hashsize=5")}, None, None),
    ("hexadecimal", {A: options("hashsize=0x1F")}, 31, "/" + A + ":1"),
    ("octal", {A: options("hashsize=0200")}, 128, "/" + A + ":1"),
    ("a sign", {A: options("hashsize=+9")}, 9, "/" + A + ":1"),
    ("zero takes it back", {A: options("hashsize=9", "hashsize=0")}, None, None),
    ("CR LF", {A: "options nf_conntrack hashsize=9\r\n"}, 9, "/" + A + ":1"),
    ("no blank to kmod", {A: "options nf_conntrack\vhashsize=9\n"}, None, None),
    ("no end of line to kmod", {A: "#\u2028options nf_conntrack hashsize=9\n"}, None, None),
    ("behind a NUL", {A: options("hashsize=9\0", "hashsize=8")}, 9, "/" + A + ":1"),
    ("a plain blank", {A: "options nf_conntrack\\ hashsize=9\n"}, 9, "/" + A + ":1"),
    ("a suffix", {"etc/modprobe.d/nf_conntrack": options("hashsize=9")}, None, None),
    ("hidden", {"etc/modprobe.d/.a.conf": options("hashsize=9")}, None, None),
    (
        "one name in two folders",
        {"run/modprobe.d/a.conf": options("hashsize=2"), "usr/lib/modprobe.d/a.conf": options("hashsize=3")},
        2,
        "/run/modprobe.d/a.conf:1",
    ),
    (
        "by name across folders",
        {A: options("hashsize=1"), "usr/lib/modprobe.d/b.conf": options("hashsize=3")},
        3,
        "/usr/lib/modprobe.d/b.conf:1",
    ),
    (
        "the folder says nothing of the order",
        {B: options("hashsize=1"), "usr/lib/modprobe.d/a.conf": options("hashsize=3")},
        1,
        "/" + B + ":1",
    ),
    ("masked", {A: "->/dev/null", "usr/lib/modprobe.d/a.conf": options("hashsize=3")}, None, None),
    ("masked by an empty one", {A: "", "run/modprobe.d/a.conf": options("hashsize=3")}, None, None),
    ("masked by a dangling link", {A: "->../gone", "run/modprobe.d/a.conf": options("hashsize=3")}, None, None),
    (
        "not masked by a directory",
        {A: None, "run/modprobe.d/a.conf": options("hashsize=3")},
        3,
        "/run/modprobe.d/a.conf:1",
    ),
    ("a loop", {A: "->a.conf"}, None, None),
    ("/lib", {"lib/modprobe.d/a.conf": options("hashsize=3")}, 3, "/lib/modprobe.d/a.conf:1"),
    (
        "/usr/lib where /lib is another",
        {"lib/modprobe.d/a.conf": "", "usr/lib/modprobe.d/b.conf": options("hashsize=3")},
        None,
        None,
    ),
    (
        "/usr/lib where /lib is a link",
        {"lib": "->usr/lib", "usr/lib/modprobe.d/a.conf": options("hashsize=3")},
        3,
        "/usr/lib/modprobe.d/a.conf:1",
    ),
    ("behind --", {A: options("hashsize=1", "--", "hashsize=2")}, 1, "/" + A + ":1"),
    ("the command line", {CMDLINE: "quiet nf_conntrack.hashsize=4 ro\n"}, 4, BOOT),
    ("it wins over files", {A: options("hashsize=1"), CMDLINE: "nf-conntrack.hashsize=4"}, 4, BOOT),
    ("quotes in it", {CMDLINE: 'nf_conntrack.hashsize="4"'}, 4, BOOT),
    ("quotes around it", {CMDLINE: '"nf_conntrack.hashsize=4"\n'}, 4, BOOT),
    ("a quote that does not end", {CMDLINE: 'x"y nf_conntrack.hashsize=4'}, None, None),
    ("a quote that begins in a word", {CMDLINE: 'x"nf_conntrack.hashsize=4 y"'}, None, None),
    ("a value's quote that does not end", {CMDLINE: 'nf_conntrack.hashsize="4'}, None, None),
    ("no module", {CMDLINE: ".hashsize=4"}, None, None),
    ("another of it", {CMDLINE: "nf_conntrack.acct=1 xnf_conntrack.hashsize=4"}, None, None),
]


@pytest.mark.parametrize(
    ("files", "number", "line"), [case[1:] for case in HASHSIZE], ids=[case[0] for case in HASHSIZE]
)
def test_hashsize(tmp_path, files, number, line):
    found = loading(host(tmp_path, files))
    assert (source(found.hashsize), found.refused) == ((number, line), None)


# What the kernel refuses: the load fails, however good another line is.
REFUSED = [
    ("blanks", "hashsize = 5", "/{0}:1: hashsize has no value"),
    ("a blank behind", "hashsize= 5", "/{0}:1: hashsize=: the kernel takes no such number"),
    ("a unit", "hashsize=64k", "/{0}:1: hashsize=64k: the kernel takes no such number"),
    ("no octal", "hashsize=08", "/{0}:1: hashsize=08: the kernel takes no such number"),
    ("hexadecimal without digits", "hashsize=0x", "/{0}:1: hashsize=0x: the kernel takes no such number"),
    ("negative", "hashsize=-1", "/{0}:1: hashsize=-1: the kernel takes no such number"),
    ("not of ASCII", "hashsize=\u0665", "/{0}:1: hashsize=\u0665: the kernel takes no such number"),
    ("digits", "hashsize=" + 250 * "1", "/{0}:1: hashsize=1111"),
    ("33 bits", "hashsize=4294967296", "/{0}:1: hashsize=4294967296: the kernel takes no such number"),
    ("too large", "hashsize=268435456", "/{0}:1: hashsize=268435456: the load fails, 268435455 is the largest"),
    ("another number", "expect_hashsize=many", "/{0}:1: expect_hashsize=many: the kernel takes no such number"),
    ("a flag", "acct=maybe", "/{0}:1: acct=maybe: the kernel wants Y or N"),
]


@pytest.mark.parametrize(("text", "why"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused(tmp_path, text, why):
    found = loading(host(tmp_path, {A: options(text), B: options("hashsize=512")}))
    assert (found.hashsize, refused(found)) == (None, "/{0}:1".format(A))
    assert found.refused.text == options(text)[:-1]
    first = next(problem for problem in found.problems if problem.kind == "load")
    assert first.severity == "critical"
    assert said(first).startswith(why.format(A))


def test_refused_from_the_command_line(tmp_path):
    found = loading(host(tmp_path, {CMDLINE: "nf_conntrack.hashsize=x"}))
    assert (refused(found), found.refused.text) == (BOOT, "nf_conntrack.hashsize=x")
    (problem,) = found.problems
    assert said(problem) == "kernel command line: hashsize=x: the kernel takes no such number, the load fails"
    assert (problem.kind, problem.severity, problem.path, problem.line) == ("load", "critical", BOOT, None)


USELESS = [
    ("unknown", options("hashsiz=5"), "/{0}:1: 'hashsiz' is no parameter of nf_conntrack"),
    ("a flag with blanks", options("acct = 1"), "/{0}:1: '=' is no parameter of nf_conntrack"),
    ("zero", options("hashsize=0"), "/{0}:1: hashsize=0 is as if it were not there"),
    ("octal", "\n" + options("hashsize=010"), "/{0}:2: hashsize=010 is 8 to the kernel", "odd", "info"),
    ("hexadecimal", options("hashsize=0x40000"), "/{0}:1: hashsize=0x40000 is 262144 to the kernel", "odd", "info"),
    ("a command that is none", "option nf_conntrack hashsize=5", "/{0}:1: modprobe ignores 'option nf_conntrack"),
    ("no parameter", "options nf-conntrack\n", "/{0}:1: modprobe ignores 'options nf-conntrack'"),
    ("a quote that does not end", options('dyndbg="+p'), "/{0}:1: its quote does not end, so that all options after"),
    ("of an alias", "options ip_conntrack hashsize=5\n", "/{0}:1: counts only where nf_conntrack is asked for as ip_"),
    ("another instead", "alias nf_conn* other\n", "/{0}:1: modprobe nf_conntrack loads other instead"),
    (
        "install beside softdep",
        "install nf_conntrack /bin/false\nsoftdep nf_conntrack post: nf_nat\n",
        "/{0}:1: never run, because of /{0}:2: softdep wins over install",
    ),
]


@pytest.mark.parametrize("case", USELESS, ids=[case[0] for case in USELESS])
def test_useless(tmp_path, case):
    """The load does not fail of it."""
    _name, text, why, *kind = case
    found = loading(host(tmp_path, {A: text}))
    assert found.refused is None
    assert said(found.problems[0]).startswith(why.format(A))
    assert [found.problems[0].kind, found.problems[0].severity] == (kind or ["useless", "warning"])


@pytest.mark.parametrize("text", ["acct", "acct=1", "acct=off", 'dyndbg="+p; +f"', "tstamp=Y", "expect_hashsize=64"])
def test_nothing_wrong(tmp_path, text):
    assert loading(host(tmp_path, {A: options(text)})).problems == []


# By the kernel's release: a parameter of that name, one that is passed over, or one that makes the load fail.
PARAMETERS = [
    ("hashsiz=5", (2, 6), "load"),
    ("hashsiz=5", (3, 10), "load"),
    ("hashsiz=5", (3, 11), "useless"),
    ("nf_conntrack_helper=1", (3, 10), None),
    ("nf_conntrack_helper=1", (5, 19), None),
    ("nf_conntrack_helper=1", (6, 0), "useless"),
    ("nf_conntrack_helper=maybe", (6, 0), "useless"),
    ("nf_conntrack_helper=maybe", (5, 19), "load"),
    ("enable_hooks=1", (3, 10), "load"),
    ("enable_hooks=1", (5, 12), "useless"),
    ("enable_hooks=1", (5, 13), None),
    ("acct=1", (2, 6), None),
    ("tstamp", (3, 10), None),
    ("dyndbg=+p", (3, 10), None),
    ("dyndbg=+p", (2, 6), "load"),
    ("async_probe", (3, 10), "load"),
    ("async_probe", (4, 2), None),
    ("=", (3, 10), "load"),
]


@pytest.mark.parametrize(("text", "version", "kind"), PARAMETERS)
def test_what_a_kernel_makes_of_a_parameter(tmp_path, text, version, kind):
    found = loading(host(tmp_path, {A: options(text), B: options("hashsize=512")}), version=version)
    assert [problem.kind for problem in found.problems] == [kind] * bool(kind)
    assert refused(found) == ("/{0}:1".format(A) if kind == "load" else None)
    assert (found.hashsize is None) is (kind == "load")


def test_of_more_names_than_are_looked_up_it_is_untold(tmp_path):
    text = "".join("m{0}\n".format(number) for number in range(200))
    assert told(host(tmp_path, {L: text}))["untold"] == []
    assert told(host(tmp_path, {"etc/modules-load.d/m.conf": "another\n"}))["untold"] == ["early"]


TSTAMP = [
    ("it has it", {"sys/module/nf_conntrack/parameters/tstamp": "N\n"}, []),
    ("it has not", {"sys/module/nf_conntrack/parameters/hashsize": "512\n"}, ["useless"]),
    ("nobody knows", {}, []),
]


@pytest.mark.parametrize(("files", "kinds"), [case[1:] for case in TSTAMP], ids=[case[0] for case in TSTAMP])
def test_a_parameter_that_not_every_kernel_is_made_with(tmp_path, files, kinds):
    found = loading(host(tmp_path, dict(files, **{A: options("tstamp=1")})))
    assert [problem.kind for problem in found.problems] == kinds


def test_ip_conntrack_has_one_parameter(tmp_path):
    text = "options ip_conntrack hashsize=512\noptions ip_conntrack expect_hashsize=5\n"
    facts = examples.facts({"state": "loaded", "flavour": "ip_conntrack", "kernel.release": "2.6.18"})
    there = assignments(host(tmp_path, {A: text}), facts, ())[0]
    assert refused(_loading.loading(there, "ip_conntrack", (2, 6))) == "/{0}:2".format(A)


FIREWALLD = (
    "install nf_conntrack /usr/sbin/modprobe --ignore-install nf_conntrack $CMDLINE_OPTS"
    " && /usr/sbin/sysctl --quiet --pattern 'net[.]netfilter[.]nf_conntrack.*' --system\n"
)


def test_install_of_firewalld(tmp_path):
    found = loading(host(tmp_path, {A: FIREWALLD, B: options("hashsize=5")}))
    assert (found.hashsize.number, found.refused, found.problems) == (5, None, [])
    assert found.install.told
    assert (found.install.line.path, found.install.line.line) == ("/" + A, 1)
    assert found.install.sysctl == Sysctl("/usr/sbin/sysctl", (), "net[.]netfilter[.]nf_conntrack.*", ())


INSTALLS = [
    ("the load and no more", "/sbin/modprobe -i nf-conntrack", True, None),
    ("and true", "/sbin/modprobe -i nf_conntrack $CMDLINE_OPTS; true", True, None),
    ("a file", "modprobe -i nf_conntrack; sysctl -p /etc/x", True, Sysctl("sysctl", (), None, ("/etc/x",))),
    ("a script", "/usr/local/sbin/load-conntrack", False, None),
    ("itself again", "/sbin/modprobe nf_conntrack", False, None),
    ("something after", "/sbin/modprobe -i nf_conntrack && /usr/local/sbin/x", False, None),
    ("a parameter of its own", "/sbin/modprobe -i nf_conntrack hashsize=5", False, None),
    ("a quote that does not end", "/sbin/modprobe -i 'nf_conntrack", False, None),
]


@pytest.mark.parametrize(
    ("text", "known", "sysctl"), [case[1:] for case in INSTALLS], ids=[case[0] for case in INSTALLS]
)
def test_install(tmp_path, text, known, sysctl):
    found = loading(host(tmp_path, {A: "install nf_conntrack {0}\n".format(text)}))
    assert found.install.line.text == "install nf_conntrack " + text
    assert (found.install.told, found.install.sysctl) == (known, sysctl)
    assert found.refused is None


def test_the_first_install_counts(tmp_path):
    found = loading(host(tmp_path, {A: "install nf_* a\n", B: "install nf_conntrack b\n"}))
    assert found.install.line.path == "/" + A


@pytest.mark.parametrize("text", ["/bin/true", "/usr/bin/false", ":"])
def test_install_of_nothing(tmp_path, text):
    found = loading(host(tmp_path, {A: "install nf_conntrack {0}\n".format(text), B: options("hashsize=5")}))
    assert (found.hashsize, refused(found)) == (None, "/{0}:1".format(A))
    (problem,) = found.problems
    assert (problem.kind, problem.severity) == ("load", "critical")


@pytest.mark.parametrize("rest", ["pre:", "nf_nat", "post: pre:", " pre: nf_nat"])
def test_a_softdep_on_nothing_leaves_install(tmp_path, rest):
    text = "softdep nf_conntrack {0}\ninstall nf_conntrack x\n".format(rest)
    assert loading(host(tmp_path, {A: text})).install.line.line == 2


@pytest.mark.parametrize("rest", ["pre: x", "pre: post: x", "  pre: x", "x pre:  x", " pre: post: x"])
def test_a_softdep_wins_over_install(tmp_path, rest):
    """One blank too many before the first word hides it from kmod."""
    text = "softdep nf_conntrack {0}\ninstall nf_conntrack x\n".format(rest)
    assert loading(host(tmp_path, {A: text})).install is None


BLACKLISTED = [
    ("a line", {A: "blacklist nf-conntrack\n"}, True),
    ("another", {A: "blacklist nf_nat\n"}, False),
    ("no pattern", {A: "blacklist nf_*\n"}, False),
    ("the command line", {CMDLINE: "modprobe.blacklist=pcspkr,nf_conntrack"}, True),
    ("a dash stays one there", {CMDLINE: "modprobe.blacklist=nf-conntrack"}, False),
]


@pytest.mark.parametrize(("files", "barred"), [case[1:] for case in BLACKLISTED], ids=[case[0] for case in BLACKLISTED])
def test_blacklisted(tmp_path, files, barred):
    files = dict(files, **{B: options("hashsize=5"), "etc/modules-load.d/c.conf": "nf_conntrack\n"})
    there = host(tmp_path, files)
    found = loading(there)
    assert (_loading.is_barred(told(there), "nf_conntrack"), found.hashsize.number, found.refused) == (barred, 5, None)
    assert _loading.loads_at_boot(told(there), "nf_conntrack") is not barred


@pytest.mark.parametrize(
    ("command_line", "place"),
    [
        ("module_blacklist=a,nf_conntrack", BOOT),
        ("module-blacklist=nf_conntrack", BOOT),
        ("module_blacklist=nf-conntrack", None),
        ("module_blacklist=nf_conntrack module_blacklist=x", None),
        ("-- module_blacklist=nf_conntrack", None),
    ],
)
def test_module_blacklist(tmp_path, command_line, place):
    found = loading(host(tmp_path, {CMDLINE: command_line}))
    assert refused(found) == place
    assert [(problem.kind, problem.severity) for problem in found.problems] == [("load", "critical")] * bool(place)


BUILT_IN = [
    ("files say nothing", {A: options("hashsize=5")}, None, 1),
    ("the command line", {CMDLINE: "nf_conntrack.hashsize=5"}, 5, 0),
    ("the last", {CMDLINE: "nf_conntrack.hashsize=5 nf-conntrack.hashsize=0x10"}, 16, 0),
    ("what the kernel does not take", {CMDLINE: "nf_conntrack.hashsize=5 nf_conntrack.hashsize=x"}, 5, 0),
    ("zero", {CMDLINE: "nf_conntrack.hashsize=5 nf_conntrack.hashsize=0"}, None, 0),
    ("what is for init", {CMDLINE: "-- nf_conntrack.hashsize=5"}, None, 0),
    ("quotes", {CMDLINE: 'x="a b" "nf_conntrack.hashsize=5"'}, 5, 0),
]


@pytest.mark.parametrize(
    ("files", "number", "problems"), [case[1:] for case in BUILT_IN], ids=[case[0] for case in BUILT_IN]
)
def test_built_in(tmp_path, files, number, problems):
    found = loading(host(tmp_path, files), builtin=True)
    assert (source(found.hashsize), found.refused) == ((number, number and BOOT), None)
    assert [(problem.kind, problem.severity) for problem in found.problems] == [("builtin", "info")] * problems


L = "etc/modules-load.d/l.conf"
AT_BOOT = [
    ("nothing", {}, None),
    ("a line", {L: "# c\n; d\n\nnf_conntrack\n"}, "/" + L + ":4"),
    ("a dash", {L: "  nf-conntrack \n"}, "/" + L + ":1"),
    ("a comment", {L: "#nf_conntrack\n"}, None),
    ("one that needs it", {L: "br_netfilter\nip_vs_rr\n"}, "/" + L + ":2"),
    ("the old name", {L: "ip_conntrack\n"}, "/" + L + ":1"),
    ("others", {L: "br_netfilter\nnf_tables\nnf_defrag_ipv4\nxt_comment\noverlay\n"}, None),
    ("two words", {L: "nf_conntrack hashsize=5\n"}, None),
    ("another suffix", {"etc/modules-load.d/l": "nf_conntrack\n"}, None),
    ("masked", {L: "->/dev/null", "usr/lib/modules-load.d/l.conf": "nf_conntrack\n"}, None),
    ("of a package", {"usr/lib/modules-load.d/l.conf": "nf_conntrack\n"}, "/usr/lib/modules-load.d/l.conf:1"),
    ("of a split /usr", {"lib/modules-load.d/l.conf": "nf_conntrack\n"}, "/lib/modules-load.d/l.conf:1"),
    (
        "/etc/modules",
        {"etc/modules-load.d/modules.conf": "->../modules", "etc/modules": "loop\nnf_conntrack\n"},
        "/etc/modules-load.d/modules.conf:2",
    ),
    ("the command line", {CMDLINE: "modules_load=loop,nf_conntrack"}, BOOT),
    ("with a dash", {CMDLINE: "modules-load=nf_nat"}, BOOT),
    ("of the initial RAM disk's systemd", {CMDLINE: "rd.modules_load=nf_conntrack"}, None),
    (
        "initramfs-tools",
        {"etc/initramfs-tools/modules": "#\nnf_conntrack hashsize=5\n"},
        "/etc/initramfs-tools/modules:2",
    ),
    ("what needs a blacklisted one", {A: "blacklist nf_conntrack\n", L: "nf_nat\n"}, "/" + L + ":1"),
]


@pytest.mark.parametrize(("files", "where"), [case[1:] for case in AT_BOOT], ids=[case[0] for case in AT_BOOT])
def test_loads_at_boot(tmp_path, files, where):
    there = told(host(tmp_path, files))
    assert _loading.loads_at_boot(there, "nf_conntrack") is (where is not None)
    if where not in (None, BOOT):
        assert place(there["early"][0]["path"], there["early"][0]["line"]) == where


U = "etc/udev/rules.d/90-conntrack.rules"
HELPER = "usr/lib/systemd/systemd-sysctl"
RUN = 'RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net/netfilter --prefix=/net/nf_conntrack_max"'
RULE = 'ACTION=="add", SUBSYSTEM=="module", KERNEL=="nf_conntrack", ' + RUN + "\n"
BOTH = ("/net/netfilter", "/net/nf_conntrack_max")

RULES = [
    ("ours", {U: "# c\n" + RULE}, [("/" + U, 2, BOTH)]),
    ("none", {U: "# " + RULE}, []),
    ("another order", {U: RUN + ',KERNEL=="nf_conntrack" SUBSYSTEM=="module",ACTION=="add"\n'}, [("/" + U, 1, BOTH)]),
    ("a path", {U: RULE.replace("KERNEL==", 'DEVPATH=="/module/nf_conntrack", KERNEL==')}, [("/" + U, 1, BOTH)]),
    ("joined lines", {U: RULE.replace(", ", ", \\\n  ")}, [("/" + U, 1, BOTH)]),
    ("a pattern", {U: RULE.replace('"nf_conntrack"', '"nf_nat|nf_conn*"')}, [("/" + U, 1, BOTH)]),
    ("another module", {U: RULE.replace('"nf_conntrack"', '"nf_nat"')}, []),
    ("not this one", {U: RULE.replace('KERNEL=="nf_conntrack"', 'KERNEL!="nf_conntrack"')}, []),
    ("the end", {U: RULE.replace("add", "remove")}, []),
    ("another subsystem", {U: RULE.replace("module", "net")}, []),
    (
        "no condition but an assignment",
        {U: RULE.replace('KERNEL=="nf_conntrack"', 'KERNEL="nf_conntrack"')},
        [("/" + U, 1, BOTH)],
    ),
    ("another suffix", {U + ".off": RULE}, []),
    ("masked", {U: "->/dev/null", "usr/lib/udev/rules.d/90-conntrack.rules": RULE}, []),
    (
        "two",
        {U: RULE, "lib/udev/rules.d/91-x.rules": RULE},
        [("/" + U, 1, BOTH), ("/lib/udev/rules.d/91-x.rules", 1, BOTH)],
    ),
    ("left out", {U: 'SUBSYSTEM!="net", GOTO="end"\n' + RULE + 'LABEL="end"\n'}, []),
    ("gone to", {U: 'SUBSYSTEM!="net", GOTO="x"\nLABEL="x"\n' + RULE}, [("/" + U, 3, BOTH)]),
    ("not left out", {U: 'SUBSYSTEM!="module", GOTO="end"\n' + RULE + 'LABEL="end"\n'}, [("/" + U, 2, BOTH)]),
    (
        "not what was run before",
        {U: RULE, "etc/udev/rules.d/99.rules": RULE.replace("RUN+", "RUN")},
        [("/etc/udev/rules.d/99.rules", 1, BOTH)],
    ),
    ("other commands", {U: RULE.replace("/usr/lib/systemd/systemd-sysctl", "/bin/echo sysctl")}, []),
]


def in_force(rules):
    last = max((at for at, rule in enumerate(rules) if rule["resets"]), default=0)
    return [rule for rule in rules[last:] if rule["call"]]


@pytest.mark.parametrize(("files", "found"), [case[1:] for case in RULES], ids=[case[0] for case in RULES])
def test_udev_rules(tmp_path, files, found):
    rules = in_force(told(host(tmp_path, dict(files, **{HELPER: ""})))["udev"])
    assert [(rule["path"], rule["line"], tuple(rule["call"]["prefixes"])) for rule in rules] == found
    assert all(rule["runs"] for rule in rules)


COMMANDS = [
    (
        "elsewhere",
        {"lib/systemd/systemd-sysctl": ""},
        "/usr/lib/systemd/systemd-sysctl",
        "calls /usr/lib/systemd/systemd-sysctl, which is not there; on this host it is /lib/systemd/systemd-sysctl",
    ),
    ("nowhere", {}, "/usr/lib/systemd/systemd-sysctl", "calls /usr/lib/systemd/systemd-sysctl, which is not there"),
    ("without a folder", {"usr/sbin/sysctl": ""}, "sysctl --system", "calls sysctl, which is not there"),
    ("in a shell", {"usr/sbin/sysctl": ""}, "/bin/sh -c 'sleep 1; sysctl --system'", None),
]


@pytest.mark.parametrize(
    ("files", "command", "said"), [case[1:] for case in COMMANDS], ids=[case[0] for case in COMMANDS]
)
def test_udev_command(tmp_path, files, command, said):
    rule = 'ACTION=="add", SUBSYSTEM=="module", KERNEL=="nf_conntrack", RUN+="{0}"\n'.format(command)
    there = host(tmp_path, dict(files, **{U: rule}))
    (found,) = told(there)["udev"]
    assert found["runs"] == (said is None)
    facts = examples.facts({"services.systemd_sysctl": next(("/" + path for path in files if "systemd" in path), None)})
    facts["assignments"] = told(there)
    assert ["/{0}:1: {1}".format(U, said)] * bool(said) == [
        "{0}:{1}: {2}".format(one.path, one.line, one.said) for one in predict(facts).problems
    ]


CALLS = [
    ("sysctl --system", Sysctl("sysctl", (), None, ())),
    ("sysctl -q -p", Sysctl("sysctl", (), None, ("/etc/sysctl.conf",))),
    ("sysctl -qp /etc/a /etc/b", Sysctl("sysctl", (), None, ("/etc/a", "/etc/b"))),
    ("sysctl --load=/etc/a", Sysctl("sysctl", (), None, ("/etc/a",))),
    ("sysctl -r ^net --system", Sysctl("sysctl", (), "^net", ())),
    ("x/systemd-sysctl", Sysctl("x/systemd-sysctl", (), None, ())),
    ("x/systemd-sysctl --prefix /a 90.conf", Sysctl("x/systemd-sysctl", ("/a",), None, ("90.conf",))),
    ("sysctl -w a=1", None),
    ("sysctl a", None),
    ("true", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "call"), CALLS, ids=[case[0] for case in CALLS])
def test_sysctl_call(text, call):
    assert sysctl_call(text.split()) == call
