# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A host's text of any kind takes time that grows as its length: four times the text, less than ten times the time."""

import gc
import time
from functools import partial

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.listing import Listing
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import LONGEST_TEXT, Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.assignments import assignments
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.fold import predict
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners import commands, kube_proxy, tuned
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners import finder as owners
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import (
    globs,
    modprobe,
    namespace_names,
    patterns,
    services,
    sysctl,
    udev,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import proc as table
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.log import RING, TELLING
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.messages import read as messages
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import hexadecimal, integer
from ansible_collections.headroom.netfilter.tests.unit import examples

pytestmark = pytest.mark.on_one_python

NAMES = kernel.FLAVOURS["nf_conntrack"]
MAX, UDP = NAMES.prefix + "max", NAMES.prefix + "udp_timeout"
KEYS = [MAX, UDP, "net.nf_conntrack_max"]

# Seconds of a processor. What takes less for LONGEST_TEXT is not slow, and too short to be compared.
SHORT = 1.0


class Files(Host):
    """A machine with these files and no other."""

    def __init__(self, texts):
        super().__init__("/nowhere")
        self.texts = texts

    def read(self, path):
        return self.texts.get(path)

    def exists(self, path):
        return path in self.texts

    def exposed(self, path):
        return None

    def list(self, path):
        return sorted({name[len(path) + 1 :].split("/")[0] for name in self.texts if name.startswith(path + "/")})


def of_files(read, *paths, **others):
    return lambda text: read(Files(dict(others.get("files", {}), **dict.fromkeys(paths, text))))


def foreseen(host, state="loaded"):
    facts = examples.facts({"state": state})
    facts["assignments"], _exposed = assignments(host, facts, ())
    return predict(facts)


def sysctl_file(text):
    lines = sysctl.parse("/etc/sysctl.d/a.conf", text)
    sysctl.effective(lines, KEYS, ["/net/netfilter"], True)
    sysctl.withdrawn(lines, set(KEYS))
    foreseen(Files({"/etc/sysctl.d/a.conf": text}))


def modprobe_file(text):
    for state in ("loaded", "builtin"):
        foreseen(Files({"/etc/modprobe.d/a.conf": text}), state)
    modprobe.problems("/etc/modprobe.d/a.conf", text)


def command_line(text):
    sysctl.effective(sysctl.command_line(text), KEYS)
    for state in ("loaded", "builtin"):
        foreseen(Files({"/proc/cmdline": text}), state)


def numbers(text):
    integer(text)
    hexadecimal(text)
    commands.plain_number(text)
    commands.sysctl_key(text, NAMES)
    sysctl.number(MAX, text)
    kube_proxy.go_seconds(text)
    kernel.version(text)
    kernel.timeout_name(text)


def a_glob(text):
    for name in ("nf_conntrack_max", "a" * 255):
        globs.matches(text, name)
        modprobe.matches(text, name)


# By name: what it does with a text, and beginnings that lead it on.
PARSERS = {
    "numbers": (numbers, ["-", "1", "0x", "1s", "1.", "tcp_timeout_"]),
    "counters": (lambda text: (table.counters(text), table.entries(text)), ["entries drop\n1 2\n", "1 "]),
    "slabinfo": (lambda text: table.slab_object_bytes(text, "nf_conntrack"), ["nf_conntrack_", "nf_conntrack_f 1 2\n"]),
    "meminfo": (table.meminfo, ["MemTotal: 1 kB\n", "MemTotal:"]),
    "modules": (table.modules, ["nf_conntrack 1\n"]),
    "cpus": (table.cpus, ["0-", "0-1,"]),
    "shell": (lambda text: table.shell_value(text, "A"), ["A=", "A=1 #\n", "A=\"'"]),
    "sysctl.d": (
        sysctl_file,
        [
            MAX + "=",
            MAX + "=1\n",
            "net.netfilter.*=1\n",
            "*=1\n",
            "-",
            "net/[a-z]*/*=1\n",
            MAX + " ",
            "net/*{a,b}",
            "--net//",
        ],
    ),
    "modprobe.d": (
        modprobe_file,
        [
            "options nf_conntrack ",
            "options nf_conntrack hashsize=1 ",
            "options nf_conntrack hashsize=1\n",
            "install nf_conntrack ",
            "install nf_conntrack modprobe -i nf_conntrack; sysctl -p ",
            "install nf_conn*\\\n",
            "install [",
            "alias nf-* ",
            "softdep nf_conntrack pre: ",
            "blacklist nf_conntrack\n",
            "x\\\n",
            "\\",
        ],
    ),
    "command line": (
        command_line,
        [
            "nf_conntrack.hashsize=1 ",
            'sysctl.net/netfilter/nf_conntrack_max="',
            "module_blacklist=a,",
            '"',
            ".=",
            "-- ",
        ],
    ),
    "modules-load.d": (
        of_files(
            foreseen,
            "/etc/modules-load.d/a.conf",
            "/etc/initramfs-tools/modules",
        ),
        ["nf_conntrac\n", "nft_", "#"],
    ),
    "udev": (
        lambda text: foreseen(Files({"/etc/udev/rules.d/a.rules": "#sysctl\n" + text})),
        [
            'RUN+="sysctl -p ',
            'RUN+="sysctl -p",',
            'RUN+="sysctl -p"\n',
            'KERNEL=="nf_conntrack",GOTO="a",',
            'KERNEL=="*a|',
            'A="\\',
            ('RUN+="sysctl -p ', "a"),
            ('RUN+="sysctl -p ', "\\a"),
            ('RUN+="', "'"),
            "A{",
            "A\\\n",
            "RUN",
            "sysctl -p '",
        ],
    ),
    "a call": (
        lambda text: [udev.sysctl_call(words) for words in udev.steps(text)],
        ["sysctl -p ", "sh -c '", 'sh -c "sysctl -p ', "sysctl --pattern ", "a'", "a\\ "],
    ),
    "a pattern": (
        lambda text: (patterns.finds(text, MAX), patterns.finds("(a?" * 400, text)),
        ["a?", "[", "[[:", "a|", "\\"],
    ),
    "a glob": (a_glob, ["*a", "[", "[[:a:]", "[a-", "[]", "[!", "\\", "*\\*"]),
    "a script": (
        lambda text: [commands.assignments(line, NAMES) for _number, line in owners.lines_of(text) if line],
        [
            MAX,
            "sysctl -w " + MAX + "=1;",
            "sysctl " + MAX + "=1 ",
            "sysctl " + MAX,
            "echo 1 > /proc/sys/net/netfilter/nf_conntrack_max;",
            "echo 1 >",
            "echo -echo ",
            (MAX + "=", "a"),
            ("echo -", "a"),
            ("echo ", "1"),
            "echo -n ",
            "tee ",
            "tee -a ",
            "modprobe nf_conntrack hashsize=1;",
            "hashsize=",
            "echo 1 |",
        ],
    ),
    "a sysctl file of a firewall": (
        lambda text: list(owners.sysctl_lines(text, NAMES)),
        [MAX + "=1\n", MAX, "-", MAX + "="],
    ),
    "tuned": (
        lambda text: list(
            tuned.owners(
                Files(
                    {
                        "/etc/tuned/active_profile": text,
                        "/etc/tuned/a/tuned.conf": text,
                        "/etc/tuned/post_loaded_profile": "b",
                        "/etc/tuned/b/tuned.conf": "[main]\ninclude=" + text,
                    }
                ),
                NAMES,
            )
        ),
        [
            "a ",
            "a,",
            "[sysctl]\n" + MAX + "=1\n",
            "[a]\na=\n b\n",
            " b\n",
            "a=1\n",
            "[a]\n",
            "[a]\ndrop=a,",
            " #",
            "a;",
        ],
    ),
    "kube-proxy": (
        lambda text: (kube_proxy.conntrack_mapping(text), kube_proxy.flags_of(text.split())),
        ["conntrack:\n a: 1\n", " a: 1\n", "conntrack: {", "--config=", "--conntrack-max ", "a:", " #"],
    ),
    "services": (
        of_files(
            services.services,
            "/etc/firewalld/firewalld.conf",
            "/etc/sysconfig/iptables-config",
            "/etc/ufw/ufw.conf",
            "/usr/lib/python3/site-packages/firewall/config/__init__.py",
            "/usr/libexec/iptables/iptables.init",
        ),
        [
            *("CleanupModulesOnExit=", "VERSION =", "VERSION\n", "IPTABLES_SYSCTL_LOAD_LIST=a "),
            *("FALLBACK_CLEANUP_ON_EXIT = ", "IPTABLES_MODULES_UNLOAD=a\n", "IPTABLES_MODULES_UNLOAD ", ". "),
            *('IPTABLES_MODULES_UNLOAD="\\', "X=$(", "$(", "X='", "\\\n", "X=`", "(\n", "x #", ">", ";"),
        ],
    ),
    "cgroup": (namespace_names.container_name, ["/docker/", "/a-", "/pod01234567", "/lxc/", "/lxc.payload."]),
    "listing": (
        lambda text: list(Listing().blocks(text.split("\n"))),
        [
            "ipv4 2 tcp 6 ",
            "tcp 6 1 ESTABLISHED src=",
            ("tcp 6 1 ", "a"),
            ("tcp 6 1 [", "A"),
            "a=",
            "tcp 6 src=1.1.1.1 dst=1.1.1.1\n",
            "x ",
        ],
    ),
    "the kernel's log": (
        lambda text: messages(Files({"/proc/stat": text, "/proc/uptime": text}), [(RING, TELLING + "\n" + text)]),
        [
            "<4>[ ",
            "<4>[1.1] nf_conntrack: table full, dropping packet\n",
            "<4>message repeated 1 times: [",
            "btime ",
            "<4>[",
        ],
    ),
    "a log": (
        lambda text: messages(
            Files({"/proc/stat": "btime 1\n", "/proc/uptime": "1"}), [("/var/log/syslog", TELLING + "\n" + text)]
        ),
        [
            "Jan 1 00:00:00 a kernel: [",
            "2026-01-01T00:00:00",
            "Jan 1 00:00:00 a kernel: nf_conntrack: table full, dropping packet\n",
            "<4>1 2026-01-01T00:00:00 a kernel - - [",
            ("Jan 1 00:00:00 a kernel: nf_conntrack: table full, dropping packet\nJan 1 00:00:00 last message '", "'"),
            "__REALTIME_TIMESTAMP\n\n{",
            "__REALTIME_TIMESTAMP=1\n\n",
        ],
    ),
}
FILL = {
    "blanks": " ",
    "lines": "\n",
    "zeros": "0",
    "letters": "a",
    "quotes": '"',
    "backslashes": "\\",
    "brackets": "[",
    "signs": "=",
    "words": "a=1 ",
    "options": "-a ",
    "commas": "a,",
    "stars": "*a",
    "comments": " #",
    "NULs": "\0",
    "of Unicode": "\u2028\xb2",
}


def seconds(parse, text):
    # What the collector of cycles takes comes and goes.
    gc.disable()
    try:
        start = time.process_time()
        parse(text)
        return time.process_time() - start
    finally:
        gc.enable()


def repeated(start, fill, size):
    return (start + fill * (size // len(fill)))[:size]


def cases():
    """Each fill alone; each beginning over and over, and with blanks behind it, or with what it is paired with."""
    for name, (parse, starts) in PARSERS.items():
        texts = {kind: ("", fill) for kind, fill in FILL.items()}
        for start in starts:
            if isinstance(start, tuple):
                texts["{0!r}, {1!r}".format(*start)] = start
            else:
                texts.update({repr(start): ("", start), repr(start) + " and blanks": (start, " ")})
        yield pytest.param(parse, texts, id=name)


def is_doubtful(few, more):
    """Whether time = a * size + b * size ** 2 could be slow and ten times more for LONGEST_TEXT than for a quarter of it, by
    what it is for a thirty-second and an eighth of it."""
    few, more = few(), more()
    return more > 5 * few and (more - 4 * few) / 12 * 1024 > SHORT


@pytest.mark.parametrize(("parse", "texts"), list(cases()))
def test_time_grows_as_the_text(parse, texts):
    slow = {}
    for kind, (start, fill) in texts.items():
        few, more, quarter, whole = (
            partial(seconds, parse, repeated(start, fill, LONGEST_TEXT // part)) for part in (32, 8, 4, 1)
        )
        if all(is_doubtful(few, more) for _again in range(3)):
            short, long = max(quarter(), quarter()), min(whole(), whole())
            if long >= SHORT and long >= 10 * short:
                slow[kind] = short, long
    assert slow == {}


@pytest.mark.parametrize(("parse", "texts"), list(cases()))
def test_the_longest_of_all_kinds_at_once(parse, texts):
    """In absolute terms, which is far more than it takes."""
    share = LONGEST_TEXT // len(texts)
    assert seconds(parse, "\n".join(repeated(start, fill, share) for start, fill in texts.values())) < 10
