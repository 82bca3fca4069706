# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action conntrack_notrack: the module of that name, confirmed over a new connection; of its answer what the module may answer."""

from __future__ import annotations

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import BY_MODULE
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.confirming import Confirming


class ActionModule(Confirming):
    answer = BY_MODULE["conntrack_notrack"]
