# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Which line of sysctl.d wins. tests/integration/test_sysctl_oracle.py asks the real programs the same."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import sysctl

MAX, ALIAS = "net.netfilter.nf_conntrack_max", "net.nf_conntrack_max"
BUCKETS = "net.netfilter.nf_conntrack_buckets"
ESTABLISHED = "net.netfilter.nf_conntrack_tcp_timeout_established"
CLOSE = "net.netfilter.nf_conntrack_tcp_timeout_close"
UDP = "net.netfilter.nf_conntrack_udp_timeout"
KEYS = (MAX, ALIAS, BUCKETS, ESTABLISHED, CLOSE, UDP)
OURS = "/etc/sysctl.d/99-conntrack.conf"


class Link(str):
    """Where a link points."""


@pytest.fixture
def host(tmp_path):
    def laid_out(files):
        for path, content in files.items():
            target = tmp_path / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Link):
                target.symlink_to(str(content))
            elif content is None:
                target.mkdir()
            else:
                target.write_bytes(content.encode("utf-8", "surrogateescape"))
        return Host(str(tmp_path))

    return laid_out


def winners(host, prefixes=(), procps=False, keys=KEYS):
    found = sysctl.effective(sysctl.assignments(host, procps), keys, prefixes, procps)
    return {key: "{0}:{1} {2}".format(line.path, line.line, line.value) for key, line in found.items()}


def both(said):
    return {MAX: said, ALIAS: said}


# What one file says, and the line that wins for each key.
LINES = [
    ("nothing", "", {}),
    ("dots", MAX + " = 5\n", both("1 5")),
    ("slashes", "net/netfilter/nf_conntrack_max=5\n", both("1 5")),
    ("dots at first", "net.netfilter/nf_conntrack_max=5\n", {}),
    ("slashes at first", "net/netfilter.nf_conntrack_max=5\n", {}),
    ("a slash in front", "/net/netfilter/nf_conntrack_max=5\n", both("1 5")),
    ("slashes twice", "net//netfilter/./nf_conntrack_max/=5\n", both("1 5")),
    ("dots twice", "net..netfilter.nf_conntrack_max=5\n", both("1 5")),
    ("the whole path", "/proc/sys/net/netfilter/nf_conntrack_max=5\n", {}),
    ("the way back", "net/core/../netfilter/nf_conntrack_max=5\n", {}),
    ("no end of line", MAX + "=5", both("1 5")),
    ("blanks", "\n \t" + MAX + " \t=\t 5 \t\n", both("2 5")),
    ("comments", "#{0}=5\n ;{0}=6\n".format(MAX), {}),
    ("a comment behind", MAX + " = 5 # five\n", both("1 5 # five")),
    ("a comment as a value", MAX + " = # five\n", {}),
    ("no assignment", MAX + " 5\n" + MAX + "\n", {}),
    ("CRLF", "# one\r\n" + MAX + " = 5\r\n", both("2 5")),
    ("a carriage return alone", "# one\r" + MAX + " = 5\r" + UDP + " = 6\n", dict(both("1 5"), **{UDP: "1 6"})),
    ("a NUL", "# one\0" + MAX + " = 5\0\n", both("1 5")),
    ("a backslash joins nothing", "# one \\\n" + MAX + " = \\\n5\n" + UDP + " = 6\n", {UDP: "4 6"}),
    ("not UTF-8", "# \udcff\n" + MAX + " = 5\n\udcff" + UDP + " = 6\n", both("2 5")),
    ("a mark of the order of bytes", "\ufeff" + MAX + " = 5\n", {}),
    ("failing allowed", "-" + MAX + " = 5\n", both("1 5")),
    ("failing allowed, with blanks", " - " + MAX + " = 5\n", both("1 5")),
    ("failing allowed twice", "--" + MAX + " = 5\n", {}),
    ("the last of two", "{0}=5\n{0}=6\n".format(MAX), both("2 6")),
    ("a refused value in place of a good one", "{0}=5\n{0}=many\n".format(MAX), {}),
    ("no buckets", "{0}=5\n{0}=0\n".format(BUCKETS), {}),
    ("a good value in place of a refused one", "{0}=many\n{0}=5\n".format(MAX), both("2 5")),
    ("taken back", "{0}=5\n-{0}\n".format(MAX), {}),
    ("taken back and set again", "-{0}\n{0}=5\n".format(MAX), both("2 5")),
    ("the alias last", "{0}=5\n{1}=6\n".format(MAX, ALIAS), both("2 6")),
    ("the alias first", "{1}=6\n{0}=5\n".format(MAX, ALIAS), both("2 5")),
    ("the alias refused", "{0}=5\n{1}=many\n".format(MAX, ALIAS), both("1 5")),
    ("the alias taken back", "{0}=5\n{1}=6\n-{1}\n".format(MAX, ALIAS), both("1 5")),
    ("the same again is written where it was first", "{1}=6\n{0}=5\n{1}=6\n".format(MAX, ALIAS), both("2 5")),
    ("another and the same again", "{1}=6\n{0}=5\n{1}=7\n{1}=6\n".format(MAX, ALIAS), both("4 6")),
    ("the same again: the last of them counts", "{0}=5\n{0}=5\n".format(UDP), {UDP: "2 5"}),
    ("a glob", "net.netfilter.nf_conntrack_tcp_timeout_* = 5\n", {ESTABLISHED: "1 5", CLOSE: "1 5"}),
    (
        "an explicit key before a glob",
        CLOSE + "=5\nnet/netfilter/nf_conntrack_tcp_timeout_*=6\n",
        {CLOSE: "1 5", ESTABLISHED: "2 6"},
    ),
    ("a glob over the alias of an explicit key", ALIAS + "=5\nnet.netfilter.*_max=6\n", both("2 6")),
    ("a glob before the alias", "net.netfilter.*_max=6\n" + ALIAS + "=5\n", both("2 5")),
    ("an exclusion", "net/netfilter/*tcp*=6\n-" + CLOSE + "\n", {ESTABLISHED: "1 6"}),
    (
        "a refused explicit key keeps globs away",
        "net/netfilter/*tcp*=6\n{0}=many\n".format(CLOSE),
        {ESTABLISHED: "1 6"},
    ),
    ("the later glob", "net/netfilter/*tcp*=6\nnet/*/*_close=7\n", {ESTABLISHED: "1 6", CLOSE: "2 7"}),
    ("a glob with a refused value", "net/netfilter/*tcp*=6\nnet/*/*_close=x\n", {ESTABLISHED: "1 6", CLOSE: "1 6"}),
    ("a glob over one folder only", "net.*=6\n", both("1 6")),
    ("a glob that is excluded", "net/netfilter/*tcp*=6\n-net/netfilter/*tcp*\n", {}),
    ("one character", "net/netfilter/nf_conntrack_m?x=6\n", both("1 6")),
    ("brackets", "net/netfilter/nf_conntrack_[abc]*=6\n", {BUCKETS: "1 6"}),
    ("a range", "net/netfilter/nf_conntrack_[a-c]*=6\n", {BUCKETS: "1 6"}),
    ("none of these", "net/netfilter/nf_conntrack_[!mt]*=6\n", {BUCKETS: "1 6", UDP: "1 6"}),
    ("none of these, otherwise", "net/netfilter/nf_conntrack_[^m-t]*=6\n", {BUCKETS: "1 6", UDP: "1 6"}),
    ("a bracket among brackets", "net/netfilter/nf_conntrack_[]b]*=6\n", {BUCKETS: "1 6"}),
    ("a bracket left open", "net/netfilter/nf_conntrack_[b*=6\n", {}),
    ("a backslash before a star", "net/netfilter/nf_conntrack_\\*=6\n", {}),
    ("a backslash before a letter", "net/n\\etfilter/nf_conntrack_[\\b]*=6\n", {BUCKETS: "1 6"}),
    ("a class", "net/netfilter/nf_conntrack_[[:alpha:]]*x=6\n", both("1 6")),
    ("no class", "net/netfilter/nf_conntrack_[![:lower:]]*=6\n", {}),
    ("braces", "net/netfilter/nf_*_{buckets,udp_{timeout,x}}=6\n", {BUCKETS: "1 6", UDP: "1 6"}),
    (
        "braces over slashes",
        "net/{netfilter/nf_conntrack_b*,nf_conntrack_m?x}=6\n",
        dict(both("1 6"), **{BUCKETS: "1 6"}),
    ),
    ("braces of one", "net/netfilter/*_{buckets}=6\n", {BUCKETS: "1 6"}),
    ("braces with nothing in them", "net/netfilter/*{}_buckets=6\n", {BUCKETS: "1 6"}),
    ("braces alone are no glob", "net.netfilter.nf_conntrack_{max,buckets}=6\n", {}),
    ("braces left open", "net/netfilter/*_{buckets=6\n", {}),
    ("braces that are closed too early", "net/netfilter/*_}{buckets,x}=6\n", {}),
    ("braces with backslashes", "net/netfilter/*_\\{buckets,x\\}=6\n", {}),
    ("a glob and the way back", "net/core/../netfilter/*=6\n", {}),
    ("many stars", "net/netfilter/" + "*_" * 5000 + "=6\n", {}),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in LINES], ids=[case[0] for case in LINES])
def test_lines(host, text, expected):
    assert winners(host({"/etc/sysctl.d/a.conf": text})) == {
        key: "/etc/sysctl.d/a.conf:" + said for key, said in expected.items()
    }


# The same of procps, where that is another.
PROCPS_LINES = [
    ("failing allowed", "-" + MAX + " = 5\n", both("1 5")),
    ("failing allowed, with blanks", "- " + MAX + " = 5\n", {}),
    ("failing allowed twice", "--" + MAX + " = 5\n", both("1 5")),
    ("failing allowed three times", "---" + MAX + " = 5\n", {}),
    ("a slash behind", "net/netfilter/nf_conntrack_max/=5\n", {}),
    ("slashes twice", "net//netfilter/./nf_conntrack_max=5\n", both("1 5")),
    ("the whole path", "/proc/sys/net/netfilter/nf_conntrack_max=5\n", {}),
    ("the way back, to a folder", "net/netfilter/nf_conntrack_max/..=5\n", {}),
    ("a refused value leaves an earlier one", "{0}=5\n{0}=many\n".format(MAX), both("1 5")),
    ("taken back for globs alone", "{0}=5\n-{0}\n".format(MAX), both("1 5")),
    ("taken back", "net/*/nf_*_udp*=5\n-{0}\n".format(UDP), {}),
    ("a glob that takes nothing back", "net/*/nf_*_udp*=5\n-net/netfilter/*udp*\n", {UDP: "1 5"}),
    ("an explicit key before a glob", UDP + "=5\nnet.netfilter.*udp*=6\n", {UDP: "1 5"}),
    (
        "an explicit key in other words",
        "net//netfilter/nf_conntrack_udp_timeout=5\nnet.netfilter.*udp*=6\n",
        {UDP: "2 6"},
    ),
    ("a glob with a backslash", "n\\et/netfilter/*udp*=6\n", {UDP: "1 6"}),
    ("a glob, slashes twice", "net//netfilter/*udp*=6\n", {UDP: "1 6"}),
    ("braces are none", "net/netfilter/nf_*_{buckets,max}=6\n", {}),
    ("blanks of all kinds", "\v" + UDP + "\f=\v6\f\n", {UDP: "1 \v6\f"}),
    ("a path without end", "net/" * 500 + "x=6\n", {}),
]


@pytest.mark.parametrize(
    ("text", "expected"), [case[1:] for case in PROCPS_LINES], ids=[case[0] for case in PROCPS_LINES]
)
def test_lines_as_procps_has_them(host, text, expected):
    there = host({"/etc/sysctl.conf": text})
    assert winners(there, procps=True) == {key: "/etc/sysctl.conf:" + said for key, said in expected.items()}
    lines = sysctl.assignments(there, procps=True)
    assert sysctl.effective(sysctl.concerned(lines, KEYS), KEYS, procps=True) == sysctl.effective(
        lines, KEYS, procps=True
    )


def test_more_braces_than_are_gone_through(host):
    """The real glob(3) would not come to an end."""
    assert winners(host({"/etc/sysctl.d/a.conf": "net/netfilter/*" + "{a,b}" * 150 + "=6\n"})) == {}


# Files of a host, and the line that sets the limit.
FILES = [
    ("none", {}, None),
    ("etc before run", {"/etc/sysctl.d/a.conf": "5", "/run/sysctl.d/a.conf": "6"}, "/etc/sysctl.d/a.conf"),
    ("run before usr", {"/run/sysctl.d/a.conf": "5", "/usr/local/lib/sysctl.d/a.conf": "6"}, "/run/sysctl.d/a.conf"),
    (
        "local",
        {"/usr/local/lib/sysctl.d/a.conf": "5", "/usr/lib/sysctl.d/a.conf": "6"},
        "/usr/local/lib/sysctl.d/a.conf",
    ),
    ("split usr", {"/usr/lib/sysctl.d/a.conf": "5", "/lib/sysctl.d/a.conf": "6"}, "/usr/lib/sysctl.d/a.conf"),
    ("lib", {"/usr/lib/sysctl.d/a.conf": "5", "/lib/sysctl.d/b.conf": "6"}, "/lib/sysctl.d/b.conf"),
    (
        "by name over folders",
        {"/etc/sysctl.d/a.conf": "5", "/usr/lib/sysctl.d/b.conf": "6"},
        "/usr/lib/sysctl.d/b.conf",
    ),
    ("by bytes", {"/etc/sysctl.d/Z.conf": "5", "/etc/sysctl.d/a.conf": "6"}, "/etc/sysctl.d/a.conf"),
    ("a dot after a dash", {"/etc/sysctl.d/9-.conf": "5", "/etc/sysctl.d/9.conf": "6"}, "/etc/sysctl.d/9.conf"),
    ("only .conf", {"/etc/sysctl.d/a.conf": "5", "/etc/sysctl.d/b.conf.bak": "6"}, "/etc/sysctl.d/a.conf"),
    ("no hidden ones", {"/etc/sysctl.d/.a.conf": "5", "/etc/sysctl.d/.conf": "6"}, None),
    ("sysctl.conf is not read", {"/etc/sysctl.conf": "5"}, None),
    ("a mask", {"/etc/sysctl.d/a.conf": Link("/dev/null"), "/usr/lib/sysctl.d/a.conf": "6"}, None),
    ("an empty mask", {"/etc/sysctl.d/a.conf": "", "/usr/lib/sysctl.d/a.conf": "6"}, None),
    ("a dangling mask", {"/etc/sysctl.d/a.conf": Link("gone"), "/usr/lib/sysctl.d/a.conf": "6"}, None),
    ("a folder as a mask", {"/etc/sysctl.d/a.conf": None, "/usr/lib/sysctl.d/a.conf": "6"}, None),
    ("a loop as a mask", {"/etc/sysctl.d/a.conf": Link("a.conf"), "/usr/lib/sysctl.d/a.conf": "6"}, None),
    (
        "a mask where another wins already",
        {"/etc/sysctl.d/a.conf": "5", "/run/sysctl.d/a.conf": Link("/dev/null"), "/usr/lib/sysctl.d/a.conf": "6"},
        "/etc/sysctl.d/a.conf",
    ),
]


@pytest.mark.parametrize(("files", "expected"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_files(host, files, expected):
    there = host(
        {
            path: "{0} = {1}\n".format(MAX, text) if text and not isinstance(text, Link) else text
            for path, text in files.items()
        }
    )
    assert {said.partition(":")[0] for said in winners(there).values()} == ({expected} if expected else set())


@pytest.mark.parametrize("target", ["../sysctl.conf", "/etc/sysctl.conf", "../../run/sysctl.d/link", "link"])
def test_the_file_to_edit_is_where_a_link_leads_to(host, target):
    there = host(
        {
            "/etc/sysctl.conf": "# one\n{0} = 5\n".format(MAX),
            "/etc/sysctl.d/99-sysctl.conf": Link(target),
            "/etc/sysctl.d/link": Link("../sysctl.conf"),
            "/run/sysctl.d/link": Link("/etc/sysctl.conf"),
        }
    )
    (line,) = sysctl.assignments(there)
    assert line == sysctl.Assignment(
        key=MAX,
        value="5",
        path="/etc/sysctl.d/99-sysctl.conf",
        file="/etc/sysctl.conf",
        line=2,
        text=MAX + " = 5",
        glob=False,
        optional=False,
    )


def test_links_out_of_the_folder(host, tmp_path):
    """They end where they lead to, past links of folders, and never outside of a tree."""
    text = MAX + " = {0}\n"
    (tmp_path.parent / "outside").write_text(text.format(4))
    there = host(
        {
            "/data/etc/sysctl.conf": text.format(5),
            "/data/etc/sysctl.d/x": text.format(6),
            "/etc": Link("/data/etc"),
            "/usr/lib/sysctl.d/a.conf": Link("/etc/sysctl.d/../sysctl.conf"),
            "/usr/lib/sysctl.d/b.conf": Link("../../../etc/sysctl.d/x"),
            "/usr/lib/sysctl.d/c.conf": Link("../../../../outside"),
            "/usr/lib/sysctl.d/d.conf": Link("../../../../../../../../data/etc/sysctl.conf"),
            "/usr/lib/sysctl.d/e.conf": Link("/etc/nowhere"),
            "/usr/lib/sysctl.d/f.conf": Link("f.conf"),
        }
    )
    assert [(line.path[-6:], line.file, line.value) for line in sysctl.assignments(there)] == [
        ("a.conf", "/data/etc/sysctl.conf", "5"),
        ("b.conf", "/data/etc/sysctl.d/x", "6"),
        ("d.conf", "/data/etc/sysctl.conf", "5"),
    ]


UNIT = "/usr/lib/systemd/system/systemd-sysctl.service"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, []),
        ({"/etc/credstore/sysctl.extra": "5"}, ["/etc/credstore/sysctl.extra:1 5"]),
        (
            {"/etc/credstore/sysctl.extra": "5", UNIT: "[Service]\nLoadCredential=sysctl.extra\n"},
            ["/etc/credstore/sysctl.extra:1 5"],
        ),
        ({"/etc/credstore/sysctl.extra": "5", UNIT: "[Service]\nType=oneshot\n"}, []),
        ({"/etc/credstore/sysctl.extra": "5", UNIT: "[Service]\n#LoadCredential=sysctl.extra\n"}, []),
        ({"/etc/credstore/sysctl.other": "5"}, []),
        (
            {"/run/credentials/@system/sysctl.extra": "5", "/etc/credstore/sysctl.extra": "6"},
            ["/run/credentials/@system/sysctl.extra:1 5"],
        ),
        (
            {"/usr/lib/credstore/sysctl.extra": "5", "/run/credstore/sysctl.extra": "6"},
            ["/run/credstore/sysctl.extra:1 6"],
        ),
        ({"/etc/credstore/sysctl.extra": "5", "/etc/systemd/system/systemd-sysctl.service": "[Service]\n"}, []),
    ],
    ids=repr,
)
def test_credential(host, files, expected):
    laid_out = {UNIT: "[Service]\nImportCredential=sysctl.*\n"}
    laid_out.update({path: text if "\n" in text else MAX + "=" + text for path, text in files.items()})
    found = sysctl.credential(host(laid_out))
    assert ["{0}:{1} {2}".format(line.path, line.line, line.value) for line in found] == expected


@pytest.mark.parametrize(
    "home", ["/run/credentials/@encrypted", "/etc/credstore.encrypted", "/usr/lib/credstore.encrypted"]
)
@pytest.mark.parametrize(
    ("unit", "plain", "expected"),
    [
        ("ImportCredential=sysctl.*\n", None, None),
        ("ImportCredential=sysctl.extra\n", None, None),
        ("ImportCredential=sysctl.*\n", "/run/credstore/sysctl.extra", ["5"]),
        # Systemd 252 and 253.
        ("LoadCredential=sysctl.extra\n", None, []),
        ("Type=oneshot\n", None, []),
    ],
)
def test_a_credential_that_is_encrypted_is_not_told(host, home, unit, plain, expected):
    files = {UNIT: "[Service]\n" + unit, home + "/sysctl.extra": "k6iUCUh0RJCQyvL8k8q1UyAAAAABAAAADAAAABAAAAC"}
    if plain:
        files[plain] = MAX + "=5\n"
    found = sysctl.credential(host(files))
    assert (found if found is None else [line.value for line in found]) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], []),
        (["/boot/sysctl.conf-6.4.0-1-default"], ["/boot/sysctl.conf-6.4.0-1-default"]),
        (
            ["/boot/sysctl.conf-6.4.0-1-default", "/usr/lib/modules/6.4.0-1-default/sysctl.conf"],
            ["/usr/lib/modules/6.4.0-1-default/sysctl.conf"],
        ),
        (["/boot/sysctl.conf-5.14.21-default"], []),
        (["/boot/sysctl.conf"], []),
    ],
    ids=repr,
)
def test_what_came_with_a_kernel(host, files, expected):
    found = sysctl.of_kernel(host(dict.fromkeys(files, MAX + " = 5\n")), "6.4.0-1-default")
    assert [line.path for line in found] == expected
    assert all(sysctl.is_of_kernel(line.path) for line in found)


def test_other_files_came_with_no_kernel(host):
    there = host({"/etc/sysctl.d/a.conf": MAX + "=5\n", "/usr/lib/sysctl.d/b.conf": MAX + "=5\n"})
    assert [sysctl.is_of_kernel(line.path) for line in sysctl.assignments(there)] == [False, False]


def test_folders_of_another_kind(host):
    there = host(
        {"/etc/modules-load.d/b.conf": "", "/usr/lib/modules-load.d/a.conf": "", "/run/modules-load.d/b.conf": ""}
    )
    assert sysctl.files(there, sysctl.folders("modules-load.d")) == [
        "/usr/lib/modules-load.d/a.conf",
        "/etc/modules-load.d/b.conf",
    ]


@pytest.mark.parametrize(
    ("prefixes", "expected"),
    [
        ([], {MAX: "2 6", ALIAS: "2 6", UDP: "3 7", CLOSE: "4 8", ESTABLISHED: "4 8"}),
        (["/net/netfilter"], {MAX: "1 5", ALIAS: "1 5", UDP: "3 7", CLOSE: "4 8", ESTABLISHED: "4 8"}),
        (["net/netfilter/"], {MAX: "1 5", ALIAS: "1 5", UDP: "3 7", CLOSE: "4 8", ESTABLISHED: "4 8"}),
        (["net.netfilter"], {MAX: "1 5", ALIAS: "1 5", UDP: "3 7", CLOSE: "4 8", ESTABLISHED: "4 8"}),
        (["/net/nf_conntrack_max"], {MAX: "2 6", ALIAS: "2 6"}),
        (["/net/nf_conntrack_max", UDP], {MAX: "2 6", ALIAS: "2 6", UDP: "3 7"}),
        ([CLOSE], {CLOSE: "4 8"}),
        (["net/netf"], {}),
        (["/proc/sys/net/netfilter"], {}),
    ],
    ids=repr,
)
def test_prefixes(host, prefixes, expected):
    text = "{0} = 5\n{1} = 6\n{2} = 7\nnet.*.*tcp* = 8\n".format(MAX, ALIAS, UDP)
    found = winners(host({"/etc/sysctl.d/a.conf": text}), prefixes)
    assert found == {key: "/etc/sysctl.d/a.conf:" + said for key, said in expected.items()}


OLD_MAX, OLD_ALIAS = "net.ipv4.netfilter.ip_conntrack_max", "net.ipv4.ip_conntrack_max"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([MAX, ALIAS], {MAX: 2, ALIAS: 2}),
        ([MAX], {MAX: 1}),
        ([OLD_MAX, OLD_ALIAS], {OLD_MAX: 4, OLD_ALIAS: 4}),
        ([MAX, ALIAS, OLD_MAX, OLD_ALIAS], {MAX: 4, ALIAS: 4, OLD_MAX: 4, OLD_ALIAS: 4}),
        ([MAX, OLD_MAX], {MAX: 3, OLD_MAX: 3}),
    ],
    ids=["today", "another namespace", "ip_conntrack", "both, until 4.8", "both, without the short names"],
)
def test_names_of_one_variable(keys, expected):
    text = "{0} = 1\n{1} = 2\n{2} = 3\n{3} = 4\n".format(MAX, ALIAS, OLD_MAX, OLD_ALIAS)
    found = sysctl.effective(sysctl.parse("x", text), keys)
    assert {key: line.line for key, line in found.items()} == expected


@pytest.mark.parametrize(
    ("value", "limit", "timeout"),
    [
        ("262144", 262144, 262144),
        ("0", 0, 0),
        ("-0", 0, 0),
        ("-1", None, -1),
        ("0x10", 16, 16),
        ("0X1f", 31, 31),
        ("010", 8, 8),
        ("08", None, None),
        ("0x", None, None),
        ("5x", None, None),
        ("5 7", 5, 5),
        ("5\tx", 5, 5),
        ("\v5", 5, 5),
        ("5\v", None, None),
        ("+5", None, None),
        ("- 5", None, None),
        ("", None, None),
        ("5,000", None, None),
        ("\u0665", None, None),
        ("0" * 19 + "5", 5, 5),
        ("0" * 20 + "5", None, None),
        ("2147483647", 2147483647, None),
        ("2147483648", None, None),
        ("9" * 4000, None, None),
        (None, None, None),
    ],
)
def test_number(value, limit, timeout):
    assert (sysctl.number(MAX, value), sysctl.number(UDP, value)) == (limit, timeout)


@pytest.mark.parametrize(("value", "buckets"), [("1", 1), ("0", None), ("-0", None), ("00", None), ("-1", None)])
def test_buckets(value, buckets):
    assert sysctl.number(BUCKETS, value) == buckets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BOOT_IMAGE=/vmlinuz quiet\n", {}),
        ("sysctl.net.netfilter.nf_conntrack_max=5 quiet", {MAX: "5", ALIAS: "5"}),
        ("sysctl/net/netfilter/nf_conntrack_max=5", {MAX: "5", ALIAS: "5"}),
        ("sysctl.net/nf_conntrack_max=5", {MAX: "5", ALIAS: "5"}),
        ('sysctl.net.nf_conntrack_max="5 6"', {MAX: "5 6", ALIAS: "5 6"}),
        ('"sysctl.net.nf_conntrack_max=5 6"', {MAX: "5 6", ALIAS: "5 6"}),
        ("sysctl.net.nf_conntrack_max=5 sysctl.net.nf_conntrack_max=x", {MAX: "5", ALIAS: "5"}),
        ("sysctl.net.nf_conntrack_max", {}),
        ("sysctlnet.nf_conntrack_max=5", {}),
        ("sysctl.net.netfilter.*=5", {}),
        ("init=/bin/sh -- sysctl.net.nf_conntrack_max=5", {}),
        ('"', {}),
    ],
)
def test_command_line(text, expected):
    found = sysctl.effective(sysctl.command_line(text), KEYS, procps=True)
    assert {key: line.value for key, line in found.items()} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MAX + " = 5\n", "/etc/sysctl.conf:1 5"),
        (MAX + " = many\n", "/usr/lib/sysctl.d/zz.conf:1 7"),
        ("-" + MAX + "\n", "/usr/lib/sysctl.d/zz.conf:1 7"),
        ("{0} = 8\n{1} = 7\n".format(ALIAS, MAX), "/etc/sysctl.conf:2 7"),
    ],
    ids=[
        "read last",
        "a refused value leaves an earlier one",
        "so does an exclusion",
        "the same again is written again",
    ],
)
def test_procps(host, text, expected):
    there = host({"/etc/sysctl.conf": text, "/usr/lib/sysctl.d/zz.conf": MAX + " = 7\n"})
    assert winners(there, procps=True) == both(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MAX + " = 5\n", {}),
        (MAX + " = x\n", {MAX: 1}),
        ("{0} = 5\n-{0}\n".format(MAX), {MAX: 2}),
        ("{0} = x\n{0} = 5\n".format(MAX), {}),
        ("{0} = x\n{1} = 5\n".format(MAX, ALIAS), {}),
        ("net.*.* = x\n", {}),
    ],
)
def test_what_a_line_withdraws(host, text, expected):
    lines = sysctl.assignments(host({"/etc/sysctl.d/a.conf": text}))
    unset = set(KEYS) - set(sysctl.effective(lines, KEYS))
    assert {key: line.line for key, line in sysctl.withdrawn(lines, unset).items()} == expected
