# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Lines of modprobe.d: what is taken must be what kmod reads, what kmod or the kernel stumbles over must be found."""

import os
import shutil
import subprocess
import tempfile

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.modprobe import lines, problems

# A text without faults, and what kmod makes of it: names with _, a tab as a blank.
GOOD = [
    (
        "ours",
        "#\n# Ansible managed\n#\n# By us.\noptions nf_conntrack hashsize=65536\n",
        ["options nf_conntrack hashsize=65536"],
    ),
    ("nothing", "", []),
    ("without an end of line", "options nf_conntrack hashsize=1", ["options nf_conntrack hashsize=1"]),
    ("blanks", "\n  options  nf_conntrack\t hashsize=512  acct=1 \n\n", ["options nf_conntrack hashsize=512 acct=1"]),
    ("a dash", "options nf-conntrack hashsize=512\n", ["options nf_conntrack hashsize=512"]),
    ("a flag", "options nf_conntrack acct tstamp=Y\n", ["options nf_conntrack acct tstamp=Y"]),
    ("the largest", "options nf_conntrack hashsize=268435455\n", ["options nf_conntrack hashsize=268435455"]),
    ("a joined line", "options nf_conntrack \\\n  hashsize=512\n", ["options nf_conntrack hashsize=512"]),
    ("a joined word", "options nf_conntrack hash\\\nsize=512\n", ["options nf_conntrack hashsize=512"]),
    ("a joined comment", "# it goes on \\\nhere with options nf_conntrack = 5\n", []),
    (
        "a comment that only looks joined",
        "# a backslash \\\\\noptions nf_conntrack hashsize=512\n",
        ["options nf_conntrack hashsize=512"],
    ),
    ("blacklist", "blacklist pcspkr\n", ["blacklist pcspkr"]),
    ("alias", "alias net-pf-* off\n", ["alias net_pf_* off"]),
    (
        "install",
        "install nf_conntrack /sbin/modprobe -i nf_conntrack $CMDLINE_OPTS; true\n",
        ["install nf_conntrack /sbin/modprobe -i nf_conntrack $CMDLINE_OPTS; true"],
    ),
    ("remove", "remove nf_conntrack /bin/true\n", ["remove nf_conntrack /bin/true"]),
    ("softdep", "softdep nf_conntrack pre: nf_defrag_ipv4\n", ["softdep nf_conntrack pre: nf_defrag_ipv4"]),
]

# A text, the line at fault, and what is said of it.
BAD = [
    ("blanks around =", "options nf_conntrack hashsize = 65536\n", 1, "hashsize wants a whole number of buckets"),
    ("a blank before =", "options nf_conntrack hashsize =65536\n", 1, "hashsize wants a whole number of buckets"),
    ("a blank after =", "options nf_conntrack hashsize= 65536\n", 1, "'hashsize=' is no parameter"),
    ("blanks around = of another", "options nf_conntrack acct = 1\n", 1, "'=' is no parameter; write name=value"),
    ("a blank before = of another", "options nf_conntrack acct =1\n", 1, "'=1' is no parameter"),
    ("a blank after = of another", "options nf_conntrack acct= 1\n", 1, "'acct=' is no parameter"),
    ("no value", "options nf_conntrack hashsize\n", 1, "hashsize wants a whole number of buckets"),
    ("zero", "options nf_conntrack hashsize=0\n", 1, "from 1 to 268435455"),
    ("negative", "options nf_conntrack hashsize=-1\n", 1, "from 1 to 268435455"),
    ("octal to the kernel", "options nf_conntrack hashsize=065536\n", 1, "from 1 to 268435455"),
    ("a unit", "options nf_conntrack hashsize=64k\n", 1, "from 1 to 268435455"),
    ("none at all", "options nf_conntrack hashsize=None\n", 1, "from 1 to 268435455"),
    ("too large", "options nf_conntrack hashsize=268435456\n", 1, "from 1 to 268435455"),
    ("far too large", "options nf_conntrack hashsize=99999999999\n", 1, "from 1 to 268435455"),
    ("a digit that is none", "options nf_conntrack hashsize=\u00b2\n", 1, "from 1 to 268435455"),
    ("no parameter", "options nf_conntrack\n", 1, "options"),
    ("no module", "options\n", 1, "options"),
    ("a module that is none", "options hashsize=65536 nf_conntrack\n", 1, "'hashsize=65536' is no name of a module"),
    ("another command", "option nf_conntrack hashsize=65536\n", 1, "'option' is no command of modprobe.d"),
    (
        "a sysctl line",
        "net.netfilter.nf_conntrack_max = 262144\n",
        1,
        "is no command of modprobe.d; expected one of alias, blacklist",
    ),
    ("text", "hashsize=65536\n", 1, "'hashsize=65536' is no command"),
    ("install without a command", "install nf_conntrack\n", 1, "install"),
    ("alias of nothing", "alias nf\n", 1, "alias"),
    ("softdep on nothing", "softdep nf_conntrack\n", 1, "softdep"),
    ("the line's number", "# one\n\nblacklist pcspkr\noptions nf_conntrack hashsize = 1\n", 4, "hashsize"),
    ("the number of the first of joined lines", "# one\noptions \\\n nf_conntrack \\\n hashsize = 1\n", 2, "hashsize"),
    ("after a comment that only looks joined", "# two \\\\\noptions nf_conntrack hashsize = 5\n", 2, "hashsize"),
    ("joined to what should stand alone", "blacklist pcspkr \\\n\noptions nf_conntrack hashsize = 5", 3, "hashsize"),
]


@pytest.mark.parametrize(("text", "read"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD])
def test_good(text, read):
    assert problems("/etc/modprobe.d/x.conf", text) == []
    assert [as_kmod_says_it(line) for _number, line in lines(text)] == read


def as_kmod_says_it(line):
    command, name, *rest = line.split()
    return " ".join([command, name.replace("-", "_"), *rest])


@pytest.mark.parametrize(("text", "number", "said"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad(text, number, said):
    (problem,) = problems("/etc/modprobe.d/x.conf", text)
    assert problem.startswith(f"/etc/modprobe.d/x.conf:{number}: ")
    assert said in problem


def test_every_bad_line_is_found():
    found = problems("x", "frob\noptions a b\noptions\n# fine\nfrob\n")
    assert [problem.split(":")[1] for problem in found] == ["1", "3", "5"]


@pytest.fixture(scope="module")
def kmod():
    """What the real modprobe reads in a text, less what the kernel's command line adds; and what it complains of."""
    found = shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if not found or "kmod version" not in subprocess.check_output([found, "--version"]).decode():
        pytest.skip("kmod's modprobe is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [found, "-C", folder, "-c"]

        def config(text):
            with open(os.path.join(folder, "x.conf"), "w", encoding="utf-8") as target:
                target.write(text)
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            out, err = (stream.decode("utf-8") for stream in process.communicate())
            return [" ".join(line.split()) for line in out.partition("# End of")[0].splitlines()], err

        always, _complaints = config("")

        def read(text):
            said, complaints = config(text)
            return [line for line in said if line and line not in always], complaints

        yield read


@pytest.mark.parametrize(("text", "read"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD])
def test_what_is_taken_is_what_kmod_reads(kmod, text, read):
    found, complaints = kmod(text)
    assert found == read
    assert "bad line" not in complaints


@pytest.mark.parametrize("text", [case[1] for case in BAD], ids=[case[0] for case in BAD])
def test_what_is_refused_would_have_gone_wrong(kmod, text):
    """kmod complains of the line, or hands its parameters on as they are for the kernel to stumble over."""
    found, complaints = kmod(text)
    assert "bad line" in complaints or any(line.startswith("options ") for line in found)
