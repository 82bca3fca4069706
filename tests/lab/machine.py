# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""One virtual machine: its QEMU command, its SSH, its monitor, and whether KVM really works here."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, TextIO

MEMORY_MB = 1024
KVM_PATIENCE_SECONDS = 20
# Without what is slow to emulate: atomic operations on 16 bytes, and page tables of five levels.
CPU = {"kvm": "host", "tcg": "max,-cx16,-la57"}
# Emulated on a busy machine, the timer is late for the check that Linux makes when it boots, and that ends in a panic.
PARAMETERS = "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 mitigations=off no_timer_check panic=1"
# Ends with the process that started it, however that ends.
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")


class Disk(NamedTuple):
    """What QEMU boots from."""

    image: Path
    kernel: Path
    initrd: Path


def command(disk: Disk, accel: str, port: int | None = None, snapshot: str | None = None) -> list[str]:
    """QEMU, which leaves console.log and the socket qmp where it is started. SSH answers at 127.0.0.1:PORT only."""
    forward = f",hostfwd=tcp:127.0.0.1:{port}-:22" if port else ""
    return [
        *WITH_PARENT,
        "qemu-system-x86_64",
        *("-accel", "tcg,thread=multi" if accel == "tcg" else accel),
        *("-machine", "q35", "-cpu", CPU[accel], "-smp", "2", "-m", str(MEMORY_MB)),
        *("-kernel", str(disk.kernel), "-initrd", str(disk.initrd)),
        *("-append", PARAMETERS),
        *("-drive", f"if=virtio,format=qcow2,cache=unsafe,file={disk.image}"),
        *("-netdev", f"user,id=lan,restrict=on{forward}", "-device", "virtio-net-pci,netdev=lan,romfile="),
        *("-device", "virtio-rng-pci", "-display", "none", "-serial", "file:console.log"),
        *("-monitor", "none", "-qmp", "unix:qmp,server=on,wait=off"),
        *(("-loadvm", snapshot) if snapshot else ()),
    ]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def ssh(port: int, key: Path) -> list[str]:
    options = (
        "BatchMode=yes",
        "ConnectTimeout=20",
        "LogLevel=ERROR",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
    )
    named = [word for option in options for word in ("-o", option)]
    return ["ssh", "-i", str(key), "-p", str(port), *named, "root@127.0.0.1"]


def answers(port: int, key: Path) -> bool:
    """Whether the machine has taken this clock's time over SSH: a restored one still has that of its snapshot."""
    set_clock = [*ssh(port, key), f"date -s @{time.time():.0f}"]
    return subprocess.run(set_clock, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def monitor(where: Path, line: str) -> str:
    """What the monitor of the QEMU that was started in a folder answers to a line."""
    folder = os.open(where, os.O_PATH)  # the path of a socket may have no more than 107 characters
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"/proc/self/fd/{folder}/qmp")
            stream = connection.makefile("rw")
            requests = [
                {"execute": "qmp_capabilities"},
                {"execute": "human-monitor-command", "arguments": {"command-line": line}},
            ]
            answer: dict[str, str] = {}
            for request in requests:
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                answer = _answer(stream)
            return answer.get("return") or ""
    finally:
        os.close(folder)


def _answer(stream: TextIO) -> dict[str, str]:
    """The next answer; what comes before it are a greeting and events."""
    while line := stream.readline():
        message = json.loads(line)
        if "return" in message or "error" in message:
            return dict(message)
    return {}


def accelerator(kernel: Path, remembered: Path) -> str:
    """Here: kvm, where this kernel comes as far as missing its root and ends; tcg where there is none, or it hangs.

    The answer is remembered in a file until this machine boots again.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(FileNotFoundError, ValueError):
        known_boot, accel = remembered.read_text().split()
        if known_boot == boot:
            return accel
    accel = "kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) and _kvm_runs(kernel) else "tcg"
    remembered.write_text(f"{boot} {accel}\n")
    return accel


def _kvm_runs(kernel: Path) -> bool:
    probe = [
        *(*WITH_PARENT, "qemu-system-x86_64", "-accel", "kvm", "-machine", "q35", "-cpu", "host", "-m", "256"),
        *("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1", "-no-reboot", "-display", "none"),
        *("-monitor", "none", "-serial", "stdio", "-nic", "none"),
    ]
    with tempfile.TemporaryFile() as output:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                probe, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=KVM_PATIENCE_SECONDS, check=False
            )
        output.seek(0)
        return b"Unable to mount root fs" in output.read()
