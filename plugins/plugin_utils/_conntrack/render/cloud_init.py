# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""User-data of cloud-init: the script, called once for each instance. Pure.

What cloud-init writes comes after systemd-sysctl of the first boot: files alone would be in force from the second on. bootcmd comes
before packages and services, and cloud-init-per keeps it from running at each boot.
"""

from __future__ import annotations

import textwrap

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.files import HEADER
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.inside import installing
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.model import Model

_TEXT = """\
#cloud-config
{header}
# Written by the playbook headroom.netfilter.render. Sizes connection tracking by the memory of the instance that boots with it.
bootcmd:
  - |
    cloud-init-per instance headroom-netfilter /bin/sh -c '
{install}    '
"""


def user_data(model: Model) -> str:
    return _TEXT.format(header=HEADER, install=textwrap.indent(installing(model), "    "))
