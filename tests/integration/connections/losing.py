# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A connection like local that is lost so many times (LOSE) after it has had conntrack_settings run, before anything is heard of it."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = r"""
name: losing
short_description: A connection that is lost
description: For tests of what becomes of a change whose answer is lost.
"""


class Connection(Local):
    transport = "losing"

    def exec_command(self, cmd, in_data=None, sudoable=True):
        answer = super().exec_command(cmd, in_data, sudoable)
        lost = Path(os.environ["LOST"])
        if b"modules.conntrack_settings" in (in_data or b"") and len(lost.read_text()) < int(os.environ["LOSE"]):
            lost.write_text(lost.read_text() + "x")
            raise AnsibleConnectionFailure("Connection reset by peer")
        return answer
