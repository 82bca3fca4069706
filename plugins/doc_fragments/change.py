# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is the same of all modules that change a host in one transaction."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  lock_seconds:
    description: How long to wait while another change of the host is on its way.
    type: int
    default: 60
  who:
    description: Who asks, for the host's log and the history.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    details: Does all but the writing, the refusals among it.
  diff_mode:
    support: full
notes:
  - The file C(/etc/headroom/netfilter.hold) on a host keeps it from being changed, by this module as well.
"""
