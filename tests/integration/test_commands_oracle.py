# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a line of a script sets is what real shells and the real sysctl make of it, over lines made at random.

They run in a root directory of their own, with plain files for the kernel's. What would run a command elsewhere, or as somebody
else, is a script there.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import programs
import pytest
from test_sysctl_oracle import PROCPS, Jail

sys.path.insert(0, str(Path(__file__).parents[5]))
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.commands import assignments
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import sysctl

SEED = int(os.environ.get("COMMANDS_SEED", "14"))
LINES = 400
NAMES = kernel.FLAVOURS["nf_conntrack"]
PREFIX = "net.netfilter.nf_conntrack_"
# One for each part of a line, so that none hides another.
KEYS = [PREFIX + name for name in ("max", "udp_timeout", "icmp_timeout", "generic_timeout")]
HASHSIZE = "/sys/module/nf_conntrack/parameters/hashsize"
TOOLS = ("sh", "bash", "echo", "printf", "env", "tee", "nice", "timeout", "nohup", "setsid", "cat", "true", "false")
ELSEWHERE = ("docker", "podman", "ip", "nsenter", "unshare", "lxc-attach", "systemd-nspawn", "chroot", "ssh")
WRAPPED = (
    "{0}",
    "{0}",
    "{0}",
    "sudo {0}",
    "sudo -n env A=b {0}",
    "A=b C='d e' {0}",
    "env -i PATH=/usr/sbin:/usr/bin {0}",
    "nice -n 5 {0}",
    "timeout 5 {0}",
    "nohup setsid {0}",
    "true && {0}",
    "false || {0}",
    "true; {0}",
    "if {0}; then true; fi",
    "{{ {0}; }}",
    "( {0} )",
    "x=$({0}); true",
    "x=`{0}`",
    "! {0}",
    "{0} >/dev/null 2>&1",
    "2>/dev/null {0} || true",
    "{0} & wait",
    "{0} | cat",
    'eval "{0}"',
    "true $((1 + (2 * 3))) && {0}",
    "case x in x) {0};; esac",
    "for x in sysctl; do {0}; done",
    'SYSCTL={1}/sysctl; test -x "$SYSCTL" && {0}',
)
NEVER = (
    "echo {0}",
    "printf '%s\\n' '{0}'",
    "true # {0}",
    "#{0}",
    "docker run --rm image {0}",
    "docker run --sysctl {2}={3} image",
    "podman exec c {0}",
    "ip netns exec a {0}",
    "nsenter -t 1 -n {0}",
    "unshare -n sh -c '{0}'",
    "lxc-attach -n a -- {0}",
    "systemd-nspawn -D /a {0}",
    "chroot /a {0}",
    "ssh host '{0}'",
    "grep '{0}' /dev/null",
    "sh -c 'true' '{0}'",
    "x='{0}'",
    "cat < /dev/null '{0}'",
)


def settings(chosen: random.Random, key: str, value: str, program: str) -> str:
    slashed = key.replace(".", "/")
    kind = chosen.choice("ssssseetTpb")
    if kind == "s":
        name = chosen.choice((key, key, slashed))
        options = chosen.choice(
            ("-w", "-w", "", "-q", "-qw", "-e -w", "--write", "-w --", "-n", "-p", "-qp", "-r nothing")
        )
        word = chosen.choice(
            (
                "{0}={1}",
                "{0}={1}",
                "{0}='{1}'",
                "{0}=\\{1}",
                '"{0}={1}"',
                "'{0} = {1}'",
                "'{0}= {1}'",
                "{0} = {1}",
                "{0}= {1}",
                "{0} ={1}",
                "{0}",
                "{0} {1}",
                "{0}=${{N}}",
                "kernel.x=1 {0}={1} kernel.y=2",
                "-- -{0}={1}",
                "{0}=",
                "{0}={1}; true {0}",
            )
        ).format(name, value)
        if not options.startswith("--") and not word.startswith("-- ") and chosen.random() < 0.2:
            # It has no long options, and no - that allows a failure.
            return f"busybox sysctl {chosen.choice(('', '-w', '-q'))} {word}"
        return f"{program} {options} {word}"
    file = f"/proc/sys/{slashed}"
    said = chosen.choice(
        ("echo {0}", "echo -n {0}", "echo '{0}'", "printf {0}", "printf '%s\\n' {0}", 'printf "{0}\\n"')
    ).format(value)
    if kind == "e":
        return (
            said
            + chosen.choice((" > ", " >", " >> ", " 1> ", " >| "))
            + chosen.choice((file, f"'{file}'", f'"{file}"'))
        )
    if kind == "t":
        return f"{said} | {chosen.choice(('', 'sudo '))}tee {chosen.choice(('', '-a ', '-- '))}{file}"
    if kind == "T":
        return f"ip netns exec a true > {file}"
    if kind == "p":
        return f"> {file} {said}"
    return chosen.choice(('sh -c "{0}"', "bash -ec '{0}'", "sudo sh -c '{0}'")).format(f"{program} -w {key}={value}")


def line(chosen: random.Random, program: str) -> str:
    parts = []
    for key in chosen.sample(KEYS, chosen.randrange(1, 3)):
        value = str(chosen.randrange(1, 99999))
        said = settings(chosen, key, value, program)
        template = chosen.choice(NEVER if chosen.random() < 0.25 else WRAPPED)
        if "'{0}'" in template or '"{0}"' in template:
            said = said.replace("'", "").replace('"', "")
        parts.append(template.format(said, "/usr/sbin", key, value))
    return chosen.choice(("; ", " ; ", " || true; ")).join(parts)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Jail:
    if not PROCPS.exists():
        pytest.skip(f"{PROCPS} is not installed")
    jail = Jail(tmp_path_factory.mktemp("jail"), PROCPS)
    for tool in TOOLS:
        found = os.path.realpath(shutil.which(tool) or pytest.skip(f"{tool} is not installed"))
        jail.bring(Path(found), f"usr/bin/{tool}")
    (jail.root / "bin").symlink_to("usr/bin")
    for name in (*ELSEWHERE, "sudo"):
        script = jail.root / "usr/bin" / name
        more = 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"' if name == "sudo" else "exit 0"
        script.write_text(f"#!/bin/sh\n{more}\n")
        script.chmod(0o755)
    for key in KEYS:
        jail.file(key).touch()
    for key in ("kernel.x", "kernel.y"):
        jail.file(key).parent.mkdir(parents=True, exist_ok=True)
        jail.file(key).touch()
    busybox = programs.program("busybox", "busybox-static")
    shutil.copy(busybox.path, jail.root / "usr/bin/busybox")
    return jail


def left(jail: Jail, shell: list[str], text: str) -> dict[str, int]:
    for key in KEYS:
        jail.file(key).write_text("")
    command = ["chroot", str(jail.root), *shell, "-c", text]
    environment = {"PATH": "/usr/sbin:/usr/bin", "N": "77", "LC_ALL": "C"}
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    found = {key: sysctl.number(key, jail.file(key).read_text().split("\n")[0]) for key in KEYS}
    return {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize("shell", [["/bin/sh"], ["/bin/bash"], ["/bin/busybox", "sh"]], ids=" ".join)
def test_lines(root: Jail, shell: list[str]) -> None:
    chosen = random.Random(SEED)
    told, wrong = 0, []
    for _number in range(LINES):
        # A shell of busybox has a sysctl of its own.
        text = line(chosen, "/usr/sbin/sysctl" if "/bin/busybox" in shell else "sysctl")
        said, real = assignments(text, NAMES), left(root, shell, text)
        # Of what cannot be told it may be that nothing is set.
        if any(said.get(key, 0) not in (None, real.get(key, 0)) for key in KEYS):
            wrong.append((text, said, real))
        told += len(said)
    assert wrong == []
    assert told > LINES / 4
