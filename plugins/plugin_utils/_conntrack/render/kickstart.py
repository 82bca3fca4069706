# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A section of a kickstart file: the script, called on the system that has just been installed. Pure.

It runs in that system's root, with the installer's kernel, whose limits are nobody's concern: files alone are written, sized by the
memory of the machine, which is the same.
"""

from __future__ import annotations

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.files import HEADER
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.inside import installing
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.model import Model

_TEXT = """\
{header}
# Written by the playbook headroom.netfilter.render. To be read by a kickstart file: %include /PATH/kickstart.ks
%post --erroronfail --interpreter=/bin/sh --log=/var/log/headroom-netfilter.log
{install}%end
"""


def kickstart(model: Model) -> str:
    return _TEXT.format(header=HEADER, install=installing(model, "--root", "/"))
