# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is the same of all modules whose answers an action of the collection checks."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
attributes:
  action:
    support: full
    details: Checks on the controller what the host answers, and hands on only what is documented here.
  async:
    support: none
    details: The result would come by a way on which it is not checked.
  bypass_host_loop:
    support: none
  platform:
    support: full
    platforms: linux
notes:
  - Python 3.6 or later is needed on the host.
"""
