# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Messages of a full table are counted in what real daemons write, whatever they put before them and however they shorten them.

Each daemon runs in a folder of its own and is handed lines at random as the kernel and programs hand them over: none hears
this machine's own. SYSLOG_SEED asks for other lines.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import programs
import pytest

sys.path.insert(0, str(Path(__file__).parents[5]))
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import messages
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.log import Log

SEED = int(os.environ.get("SYSLOG_SEED", "12"))
LINES = 150
PATIENCE = 60
FULL = (
    "nf_conntrack: nf_conntrack: table full, dropping packet",
    "nf_conntrack: table full, dropping packet.",
    "nf_conntrack: nf_conntrack: table full in netns 4026532000, dropping packet",
    "ip_conntrack: VPS 101 table full, dropping packet.",
    "VE101: nf_conntrack: table full, dropping packet.",
)
OTHERS = (
    "eth0: link up",
    "nf_conntrack: expectation table full",
    "TCP: table full, dropping packet",
    "IPv6: ADDRCONF(NETDEV_CHANGE): eth0: link becomes ready",
)
# Of programs, a name and what it says.
PROGRAMS = (
    ("sudo", "root : COMMAND=/bin/grep kernel: " + FULL[0]),
    ("CRON[12]", "(root) CMD (true)"),
    ("python3[7]", FULL[0]),
    ("nobody", "last message repeated 7 times"),
)
END = "the end"


class Told(NamedTuple):
    """What a daemon is handed, in the order of the kernel's and of the programs', and what is true of it."""

    kernel: list[str]
    programs: list[tuple[str, str]]
    full: int
    suppressed: int


def told(seed: int, repeating: bool) -> Told:
    """Where it is ``repeating`` some messages are there again and again, without their times, as old kernels have them."""
    chosen = random.Random(seed)
    kernel: list[str] = []
    full = suppressed = 0
    pending = 0
    for number in range(LINES):
        kind = chosen.choice("ffffsko")
        plain = repeating and chosen.random() < 0.6
        start = "" if plain else f"[{100 + number:5d}.{chosen.randrange(10**6):06d}]" + chosen.choice((" ", "[   C1] "))
        if kind == "s":
            pending = chosen.randrange(1, 999)
            kernel.append(f"{start}net_ratelimit: {pending} callbacks suppressed")
            continue
        times = chosen.choice((1, 1, 2, 5)) if kind == "f" and plain else 1
        kernel += [start + (chosen.choice(FULL) if kind == "f" else chosen.choice(OTHERS))] * times
        full += times if kind == "f" else 0
        suppressed += pending if kind == "f" else 0
        pending = 0
    return Told([*kernel, END], [*chosen.choices(PROGRAMS, k=LINES // 4), ("nobody", END)], full, suppressed)


@contextmanager
def running(*words: str | Path, environment: dict[str, str], output: Path | None = None) -> Iterator[None]:
    with output.open("wb") if output else open(os.devnull, "wb") as opened:
        process = subprocess.Popen(
            [str(word) for word in words], env=environment, stdin=subprocess.DEVNULL, stdout=opened, stderr=opened
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    return until(lambda: client if client.connect_ex(str(path)) == 0 else None)


def until(look: Callable[[], object]) -> object:
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def now() -> str:
    return time.strftime("%b %e %H:%M:%S")


def send_all(path: Path, lines: Told, priority: int = 4, tag: str = "kernel: ") -> None:
    """To a socket, as klogd and syslog(3) write there."""
    with connected(path) as client:
        # Small buffers lose what comes too fast.
        for line in lines.kernel:
            client.send(f"<{priority}>{now() + ' ' if tag else ''}{tag}{line}".encode())
            time.sleep(0.001)
        for name, text in lines.programs:
            client.send(f"<13>{now()} {name}: {text}".encode())
            time.sleep(0.001)


def written(path: Path) -> str:
    """All of it, once its end is there."""
    return str(until(lambda: path.exists() and path.read_text().count(END) > 1 and path.read_text()))


def check(text: str, lines: Told, since: float, timed: bool = True) -> None:
    found: Log = messages.read(Host(), [("/var/log/messages", text)])
    assert (found.table_full, found.suppressed) == (lines.full, lines.suppressed), text
    if timed:
        first, last = found.first_seen, found.last_seen
        assert first
        assert last
        for moment in (first, last):
            seen = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
            assert since - 1 <= seen <= time.time() + 1, moment


@pytest.mark.parametrize("priority", [4, 12], ids=["klogd with musl", "klogd with glibc"])
@pytest.mark.parametrize("options", [[], ["-S"], ["-t"]], ids=str)
def test_busybox(tmp_path: Path, options: list[str], priority: int) -> None:
    found = programs.program("busybox", "busybox")
    lines, since = told(SEED, repeating=True), time.time()
    (tmp_path / "dev").mkdir()
    # Its socket is /dev/log, and no other.
    apart = ("unshare", "--mount", "--net", "--uts", "sh", "-ec", 'mount --bind "$0" /dev; exec "$@"', tmp_path / "dev")
    output = tmp_path / "messages"
    with running(*apart, found.path, "syslogd", "-n", *options, "-O", output, environment=found.environment):
        send_all(tmp_path / "dev/log", lines, priority)
        text = written(output)
    check(text, lines, since)


@pytest.mark.parametrize("repeating", [False, True])
def test_inetutils(tmp_path: Path, repeating: bool) -> None:
    found = programs.program("syslogd", "inetutils-syslogd")
    lines, since = told(SEED + 2, repeating), time.time()
    (tmp_path / "conf").write_text(f"*.*\t{tmp_path}/messages\n")
    (tmp_path / "messages").touch()
    words = ("--no-detach", "--no-klog", "--no-forward", "-f", "conf", "-D", "none", "-p", "log", "-P", "pid")
    with running(
        found.path, *(tmp_path / word if word[0] != "-" else word for word in words), environment=found.environment
    ):
        send_all(tmp_path / "log", lines)
        text = written(tmp_path / "messages")
    if repeating:
        assert "last message repeated" in text
    check(text, lines, since)


@pytest.mark.parametrize("stamps", ["-t", "-tt", ""])
@pytest.mark.parametrize("tag", ["kernel: ", ""], ids=["klogd", "nanoklogd"])
def test_socklog_and_svlogd(tmp_path: Path, stamps: str, tag: str) -> None:
    socklog, svlogd = programs.program("socklog", "socklog"), programs.program("svlogd", "runit")
    lines, since = told(SEED + 3, repeating=True), time.time()
    (tmp_path / "log").mkdir()
    # The second writes to a pipe from the first; both end with their shell's group.
    script = 'LD_LIBRARY_PATH=$4 "$0" unix "$1" | LD_LIBRARY_PATH=$5 exec "$2" $6 "$3"'
    libraries = [one.environment.get("LD_LIBRARY_PATH", "") for one in (socklog, svlogd)]
    process = subprocess.Popen(
        ["sh", "-c", script, socklog.path, tmp_path / "socket", svlogd.path, tmp_path / "log", *libraries, stamps],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        send_all(tmp_path / "socket", lines, tag=tag)
        text = written(tmp_path / "log/current")
    finally:
        os.killpg(process.pid, 15)
        process.wait(PATIENCE)
    check(text, lines, since, timed=bool(stamps))


RSYSLOG = (
    "RSYSLOG_TraditionalFileFormat",
    "RSYSLOG_FileFormat",
    "RSYSLOG_SyslogProtocol23Format",
    "RSYSLOG_SysklogdFileFormat",
    "%timegenerated% %HOSTNAME% %syslogfacility-text%.%syslogseverity-text% %syslogtag%%msg%\\n",
    "%timegenerated:::date-unixtimestamp% %HOSTNAME% %syslogtag%%msg:::sp-if-no-1st-sp%%msg%\\n",
    "%timegenerated:::date-rfc3339% %HOSTNAME% %syslogtag%%msg%\\n",
    "<%pri%>%timegenerated% %HOSTNAME% %syslogtag%%msg:::sp-if-no-1st-sp%%msg:::drop-last-lf%\\n",
)


@pytest.mark.parametrize("reduced", ["off", "on"])
def test_rsyslog(tmp_path: Path, reduced: str) -> None:
    found = programs.program("rsyslogd", "rsyslog")
    lines, since = told(SEED + 4, repeating=True), time.time()
    kernel = tmp_path / "kmsg"
    os.mkfifo(kernel)
    configuration = [
        f'global(workDirectory="{tmp_path}")',
        'module(load="imuxsock" SysSock.Use="off")',
        f'input(type="imuxsock" Socket="{tmp_path}/log" RateLimit.Interval="0")',
        f'module(load="imklog" logpath="{kernel}")',
        f"$RepeatedMsgReduction {reduced}",
    ]
    for number, template in enumerate(RSYSLOG):
        name = template if "%" not in template else f"t{number}"
        if name != template:
            configuration.append(f'template(name="{name}" type="string" string="{template}")')
        configuration.append(f'*.* action(type="omfile" file="{tmp_path}/{number}" template="{name}")')
    (tmp_path / "conf").write_text("\n".join(configuration) + "\n")
    modules = next(found.root.glob("usr/lib/*/rsyslog"))
    words = (found.path, "-n", "-f", tmp_path / "conf", "-i", tmp_path / "pid", "-M", modules)
    with running(*words, environment=found.environment, output=tmp_path / "said"), kernel.open("w") as opened:
        opened.write("".join(f"<4>{line}\n" for line in lines.kernel))
        opened.flush()
        send_all(tmp_path / "log", lines._replace(kernel=[]))
        texts = [written(tmp_path / str(number)) for number in range(len(RSYSLOG))]
    if reduced == "on":
        assert "message repeated" in texts[0]
    for text in texts:
        check(text, lines, since)


SYSLOG_NG = {
    "plain": "",
    "iso": "ts-format(iso) frac-digits(3)",
    "full": "ts-format(full)",
    "bsd": "ts-format(bsd)",
    "unix": "ts-format(unix)",
    "protocol": "flags(syslog-protocol)",
    "facility": 'template("$ISODATE $HOST $FACILITY.$PRIORITY $MSGHDR$MSG\\n")',
    "suppressed": "suppress(5)",
    "suppressed-protocol": "flags(syslog-protocol) suppress(5)",
}


def test_syslog_ng(tmp_path: Path) -> None:
    found = programs.program("syslog-ng", "syslog-ng-core")
    version = subprocess.run([found.path, "-V"], env=found.environment, capture_output=True, text=True, check=True)
    lines, since = told(SEED + 5, repeating=True), time.time()
    kernel = tmp_path / "kmsg"
    os.mkfifo(kernel)
    configuration = [
        "@version: " + version.stdout.split("Installer-Version: ")[1].split()[0].rpartition(".")[0],
        f'source s {{ unix-dgram("{tmp_path}/log");'
        f' pipe("{kernel}" program-override("kernel") flags(kernel) log-iw-size(10000)); }};',
    ]
    for name, options in SYSLOG_NG.items():
        configuration.append(f'log {{ source(s); destination {{ file("{tmp_path}/{name}" {options}); }}; }};')
    (tmp_path / "conf").write_text("\n".join(configuration) + "\n")
    (modules,) = {path.parent for path in found.root.glob("usr/lib/**/libaffile.so")}
    words = (
        "-F",
        "-f",
        tmp_path / "conf",
        "-R",
        tmp_path / "persist",
        "-c",
        tmp_path / "control",
        "-p",
        tmp_path / "pid",
    )
    words = (found.path, *words, f"--module-path={modules}")
    with running(*words, environment=found.environment, output=tmp_path / "said"), kernel.open("w") as opened:
        opened.write("".join(f"<4>{line}\n" for line in lines.kernel))
        opened.flush()
        send_all(tmp_path / "log", lines._replace(kernel=[]))
        texts = {name: written(tmp_path / name) for name in SYSLOG_NG}
    assert "suppressed by syslog-ng" in texts["suppressed"]
    for text in texts.values():
        check(text, lines, since)


JOURNALCTL = ("short", "short-precise", "short-iso", "short-iso-precise", "short-full", "short-unix", "short-monotonic")


def test_the_journal(tmp_path: Path) -> None:
    remote = programs.program("systemd-journal-remote", "systemd-journal-remote")
    lines, since = told(SEED + 6, repeating=True), time.time()
    records = [
        f"_TRANSPORT=kernel\nSYSLOG_FACILITY=0\nSYSLOG_IDENTIFIER=kernel\nPRIORITY=4\nMESSAGE={line}"
        for line in lines.kernel
    ]
    records += [f"_TRANSPORT=syslog\nSYSLOG_FACILITY=0\nSYSLOG_IDENTIFIER=nobody\nMESSAGE={FULL[0]}"]
    records += [f"_TRANSPORT=kernel\nSYSLOG_FACILITY=1\nSYSLOG_IDENTIFIER=nobody\nMESSAGE={FULL[0]}"]
    text = "".join(
        f"__REALTIME_TIMESTAMP={int(since * 10**6) + number}\n__MONOTONIC_TIMESTAMP={number}\n"
        f"_BOOT_ID={'0' * 31}1\n_HOSTNAME=web-1\n{record}\n\n"
        for number, record in enumerate(records)
    )
    journal = tmp_path / "x.journal"
    made = subprocess.run(
        [remote.path, "-o", str(journal), "-"],
        input=text,
        env=remote.environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert journal.exists(), made.stderr
    for kind in (*JOURNALCTL, "with-unit", "json", "export"):
        asked = ["journalctl", "--quiet", "--no-pager", "--file", str(journal), "-o", kind]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        check(said, lines, since, timed=kind != "short-monotonic")
