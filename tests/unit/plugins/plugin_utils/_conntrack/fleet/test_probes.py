# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Probes: what they are, and what the controller makes of those that it tries itself."""

from __future__ import annotations

import http.server
import socket
import sys
import threading

import pytest

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet import probes
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet.probes import Probe


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, *_words):
        return


@pytest.fixture(scope="module")
def port():
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody():
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


def one(**given):
    return probes.read([given])[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"port": "443"}, Probe("port", 443, "controller", "port 443 from the controller")),
        ({"port": 443, "from": "host"}, Probe("port", 443, "host", "port 443 from the host")),
        ({"url": "http://a/b"}, Probe("url", "http://a/b", "controller", "http://a/b from the controller")),
        ({"command": ["true", 1]}, Probe("command", ["true", "1"], "host", "true 1 from the host")),
        ({"command": "test -e '/a b'", "name": "b"}, Probe("command", ["test", "-e", "/a b"], "host", "b")),
    ],
)
def test_what_a_probe_is(given, expected):
    assert one(**given) == expected


def test_a_port_that_accepts_is_green_and_one_that_does_not_is_red(port, nobody):
    assert probes.tried(one(port=port), "127.0.0.1") == ""
    assert "refused" in probes.tried(one(port=nobody), "127.0.0.1")


@pytest.mark.parametrize(("status", "why"), [(200, ""), (204, ""), (404, "404"), (500, "500")])
def test_an_address_is_green_by_its_status(port, status, why):
    said = probes.tried(one(url=f"http://127.0.0.1:{port}/{status}"), "unused")
    assert why in said if why else said == ""


def test_an_address_where_nobody_is(nobody):
    assert "refused" in probes.tried(one(url=f"http://127.0.0.1:{nobody}/"), "unused")


def test_a_command_is_green_if_it_ends_well(tmp_path):
    def tried(text):
        return probes.tried(one(**{"command": [sys.executable, "-c", text], "from": "controller"}), "unused")

    assert tried("print('fine')") == ""
    assert tried("import sys; sys.exit('broken \\x1b[31m')") == "exit code 1: broken \\x1b[31m"
    missing = probes.tried(one(**{"command": [str(tmp_path / "missing")], "from": "controller"}), "unused")
    assert "No such file" in missing


def test_a_command_meets_no_shell(tmp_path):
    marked = tmp_path / "marked"
    probes.tried(one(**{"command": f"echo ; touch {marked}", "from": "controller"}), "unused")
    assert not marked.exists()
