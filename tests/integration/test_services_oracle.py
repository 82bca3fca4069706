# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Configurations of firewalls at random: what the collection reads in them is what firewalld's own parser and bash make of them, and
the line that is to keep the module loaded does so.

Each is a tree of its own: nothing of this machine is read or written. ORACLE_LAYOUTS and ORACLE_SEED ask for more, and for others.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[5]))
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change import request, writes
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import services

LAYOUTS = int(os.environ.get("ORACLE_LAYOUTS", "200"))
SEED = int(os.environ.get("ORACLE_SEED", "12"))
# Of Debian's package python3-firewall, whose Python is the system's.
PYTHON, PACKAGE = "/usr/bin/python3", Path("/usr/lib/python3/dist-packages/firewall")
ANSWERS = """
import json, sys
from firewall import config
from firewall.core.io.firewalld_conf import firewalld_conf
answers = []
for path, fallback in json.load(sys.stdin):
    config.FALLBACK_CLEANUP_MODULES_ON_EXIT = fallback
    conf = firewalld_conf(path)
    conf.read()
    answers.append(conf.get("CleanupModulesOnExit"))
print(json.dumps(answers))
"""
BASH = shutil.which("bash")
# As the scripts of Enterprise Linux 5 to 7 begin.
HEAD = '#!/bin/bash\nIPTABLES_CONFIG={0}\nIPTABLES_MODULES_UNLOAD="{1}"\n[ -f "$IPTABLES_CONFIG" ] && . "$IPTABLES_CONFIG"\n'
SCRIPT = services.IPTABLES_SCRIPTS[0]


def lay_out(root: Path, texts: dict[str, str]) -> WritableHost:
    for path, text in texts.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode("utf-8", "surrogateescape"))
    return WritableHost(str(root))


def says(host: WritableHost, path: str) -> services.Says:
    return dict(services.unloading(host))[path]


def keep(host: WritableHost, path: str, found: services.Says, wanted: str) -> None:
    """The edit that a plan asks for; none where the line is there, and the shell gives up before it."""
    asked = request.read({"lines": [{"path": path, "found": found.text, "wanted": wanted}]})
    for write in writes.writes(host, asked):
        Path(host.path(path)).write_bytes(write.after.content)


def at_random(tmp_path: Path, a_text: Callable[[random.Random], str]) -> list[tuple[Path, str, random.Random]]:
    found = []
    for number in range(LAYOUTS):
        chance = random.Random(SEED * 1000003 + number)
        found.append((tmp_path / str(number), a_text(chance), chance))
    return found


def a_firewalld_conf(chance: random.Random) -> str:
    def line() -> str:
        key = chance.choice(["CleanupModulesOnExit"] * 6 + ["CleanupOnExit", "DefaultZone", "cleanupmodulesonexit", ""])
        value = chance.choice(["yes", "no", "True", "FALSE", "maybe", "1", "", "yes # so", '"yes"', "no=yes", "yes\t"])
        equals = chance.choice(["=", "=", " = ", "\t=", "==", " ", ":", "\u00a0=\u00a0"])
        before = chance.choice(["", "", "", "", " ", "# ", "#", ";", "; ", "\u2003"])
        return before + key + equals + value + chance.choice(["", "", " ", "\u00a0"])

    ends = chance.choice(["\n", "\n", "\r\n"])
    lines = [line() for _line in range(chance.randrange(6))]
    return ends.join(lines) + chance.choice(["", ends])


@pytest.fixture(name="parse")
def parse_with_firewalld():
    if not PACKAGE.is_dir():
        pytest.skip("python3-firewall, firewalld's own parser, is not installed")

    def parse(asked: list[tuple[str, bool]]) -> list[str]:
        done = subprocess.run(
            [PYTHON, "-c", ANSWERS], input=json.dumps(asked), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return parse


def test_as_firewalld_does(tmp_path, parse):
    program = (PACKAGE / "config/__init__.py").read_text(encoding="utf-8")
    usual = "FALLBACK_CLEANUP_MODULES_ON_EXIT = False"
    assert usual in program
    hosts, asked = [], []
    for root, text, chance in at_random(tmp_path, a_firewalld_conf):
        fallback = chance.randrange(3) == 0
        own = program.replace(usual, usual.replace("False", str(fallback)))
        texts = {services.FIREWALLD: text, "/usr/lib/python3/dist-packages/firewall/config/__init__.py": own}
        host = lay_out(root, texts)
        hosts.append((host, text, says(host, services.FIREWALLD)))
        asked.append((host.path(services.FIREWALLD), fallback))
    kept = []
    for (host, text, found), answer, one in zip(hosts, parse(asked), asked):
        assert found.unloads is (answer.lower() in ("yes", "true")), (text, answer)
        if found.unloads:
            keep(host, services.FIREWALLD, found, "CleanupModulesOnExit=no")
            assert not says(host, services.FIREWALLD).unloads, text
            kept.append(one)
    assert set(parse(kept)) == {"no"}
    assert LAYOUTS / 5 < len(kept) < LAYOUTS * 4 / 5


def an_iptables_config(chance: random.Random) -> str:
    def setting() -> str:
        name = chance.choice(["IPTABLES_MODULES_UNLOAD"] * 5 + ["IPTABLES_MODULES", "XIPTABLES_MODULES_UNLOAD"])
        value = chance.choice(
            [
                "yes",
                "no",
                '"yes"',
                '"no"',
                "'yes'",
                "YES",
                "",
                "y\\es",
                "y'e's",
                '"y"es',
                '"yes ',
                "yes#",
                "ye\\\ns",
                "${X}y",
            ]
        )
        equals = chance.choice(["=", "=", "=", "=", "=", " = ", "= ", " ="])
        before = chance.choice(["", "", "", "", " ", "\t", "export ", "readonlyX ", "# ", "A=1 ", "declare -x ", "( "])
        end = chance.choice(["", "", "", " # why", "; :", ";B=2", " C=3", " :", " & ", " | :", " >x", " )", "\r"])
        return before + name + equals + value + end

    other = ['# IPTABLES_MODULES_UNLOAD="yes"', "*nat", ":INPUT ACCEPT [0:0]", "-A X -j Y", "COMMIT", "", 'A="']
    lines = [chance.choice([setting(), setting(), chance.choice(other)]) for _line in range(chance.randrange(5))]
    return "\n".join(lines) + chance.choice(["", "\n"])


@pytest.mark.skipif(not BASH, reason="bash is not installed")
def test_as_bash_does(tmp_path):
    def value(host: WritableHost) -> str:
        script = Path(host.path(SCRIPT))
        script.write_text(HEAD.format(host.path(services.IPTABLES), default))
        told = 'cd "${0%/*}"; PATH=/none; . "$0"; printf %s "$IPTABLES_MODULES_UNLOAD"'
        command = [str(BASH), "--norc", "-c", told, str(script)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={}).stdout

    def read_alike(host: WritableHost) -> services.Says:
        found = says(host, services.IPTABLES)
        # What a variable makes of it is not told: it is taken for a yes.
        is_told = "$" not in (found.value or "")
        assert found.unloads is (value(host) == "yes" if is_told else True), (text, default)
        return found

    unloading = kept = 0
    for root, text, chance in at_random(tmp_path, an_iptables_config):
        default = chance.choice(["yes", "no"])
        host = lay_out(root, {services.IPTABLES: text, SCRIPT: HEAD.format("/etc/sysconfig/iptables-config", default)})
        found = read_alike(host)
        if found.unloads and found.line is not None:
            unloading += 1
            keep(host, services.IPTABLES, found, 'IPTABLES_MODULES_UNLOAD="no"')
            # Behind a quote that is never closed, the shell reads no line.
            kept += not read_alike(host).unloads
    assert unloading > LAYOUTS / 5
    assert kept > unloading / 2
