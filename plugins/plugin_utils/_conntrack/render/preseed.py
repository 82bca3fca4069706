# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A line of Debian's preseed.cfg: the script, called on the system that has just been installed. Pure.

As with kickstart, files alone are written, sized by the memory of the machine.
"""

from __future__ import annotations

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.files import HEADER
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.inside import packed
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.model import SCRIPT, Model

# One line, as an answer to debconf is; there is one late_command to a file.
_STEPS = (
    "umask 022",
    "mkdir -p {folder}",
    "printf %s {packed} | base64 -d | gzip -dc >{path}.new",
    "chmod 0755 {path}.new",
    "mv -f {path}.new {path}",
    "{path} --root /",
)
_TEXT = """\
{header}
# Written by the playbook headroom.netfilter.render. Where there is a late_command already, join the two with && in one line.
d-i preseed/late_command string in-target /bin/sh -c '{install}'
"""


def preseed(model: Model) -> str:
    names = {"folder": SCRIPT.rpartition("/")[0], "packed": packed(model.script), "path": SCRIPT}
    return _TEXT.format(header=HEADER, install=" && ".join(step.format_map(names) for step in _STEPS))
