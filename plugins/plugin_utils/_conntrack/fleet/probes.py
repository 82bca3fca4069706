# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes: what is to work on a host before and after its change. Pure, but for those that the controller tries itself."""

from __future__ import annotations

import shlex
import socket
import subprocess
import urllib.error
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible.module_utils.urls import open_url

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import Wrong, one_of, shown, whole
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import short

PORT, URL, COMMAND = "port", "url", "command"
KINDS = (PORT, URL, COMMAND)
CONTROLLER, HOST = "controller", "host"
# Seconds for one try.
LONGEST = 10
_FIELDS = {*KINDS, "name", "from"}
_WANTED = (
    "expected a list of probes, each with one of port, url or command, and if wanted from (controller or host) and name, as "
    "[{port: 443}, {url: 'https://shop.example/health'}, {command: [systemctl, is-active, nginx]}]"
)


class Probe(NamedTuple):
    kind: str
    what: Any  # the port, the address, or the words of the command
    by: str  # controller or host: who tries
    name: str


def read(value: Any) -> list[Probe]:
    """Raises Wrong."""
    if not isinstance(value, list):
        raise Wrong(_WANTED)
    return [_read(one) for one in value]


def _read(one: Any) -> Probe:
    if not isinstance(one, Mapping) or not set(one) <= _FIELDS or len(set(one) & set(KINDS)) != 1:
        raise Wrong(f"{_WANTED}; found {shown(one)}")
    kind = next(name for name in KINDS if name in one)
    what: Any = one[kind]
    if kind == PORT:
        what = whole(1, 65535, "the port")(what)
    elif kind == URL:
        if not isinstance(what, str) or not what.startswith(("http://", "https://")):
            raise Wrong(f"url: expected one that begins with http:// or https://, found {shown(what)}")
        what = str(what)
    else:
        words = shlex.split(what) if isinstance(what, str) else what
        if not isinstance(words, list) or not words or not all(isinstance(word, (str, int)) for word in words):
            raise Wrong(f"command: expected a program and its words, which no shell sees, found {shown(what)}")
        what = [str(word) for word in words]
    by = one_of((CONTROLLER, HOST))(one["from"]) if "from" in one else HOST if kind == COMMAND else CONTROLLER
    said = " ".join(what) if kind == COMMAND else f"{kind} {what}" if kind == PORT else what
    return Probe(kind, what, by, str(one.get("name") or f"{said} from the {by}"))


def tried(probe: Probe, address: str) -> str:
    """By the controller: nothing where it is green, or why it is red."""
    try:
        if probe.kind == PORT:
            socket.create_connection((address, probe.what), LONGEST).close()
        elif probe.kind == URL:
            open_url(probe.what, timeout=LONGEST).read(1)
        else:
            return _run(probe.what)
    except (OSError, urllib.error.URLError, ValueError) as error:
        return short(str(error)) or type(error).__name__
    return ""


def _run(words: list[str]) -> str:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    return short(f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()}") if done.returncode else ""


def module(probe: Probe) -> tuple[str, dict[str, Any]]:
    """By the host: the module of ansible-core that tries it, and its options."""
    if probe.kind == PORT:
        return "ansible.builtin.wait_for", {"port": probe.what, "timeout": LONGEST, "connect_timeout": LONGEST}
    if probe.kind == URL:
        return "ansible.builtin.uri", {"url": probe.what, "timeout": LONGEST, "status_code": list(range(200, 400))}
    return "ansible.builtin.command", {"argv": probe.what}
