#!/usr/bin/python
# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: conntrack_rollback
short_description: Take changes of connection tracking back
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Gives back the files and the live values that were there before a change by M(headroom.netfilter.conntrack_settings), from what was
    kept on the host then. Later changes are taken back as well.
  - That is a change itself; it can be taken back in turn, by its own RV(id).
  - What others have changed since is left as it is, and named. The limit stays as high as flows in use need it.
  - The second time nothing is left to be taken back.
options:
  to:
    description:
      - The change to take back, by the id that it was given, as in C(history) of M(headroom.netfilter.conntrack_facts).
      - V(first) takes all of them back, so that the host is as it was before the first one.
      - By default the last change that is none that takes others back; or one that was left unfinished.
    type: str
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
  - headroom.netfilter.guarded
  - headroom.netfilter.change
notes:
  - Needs root.
seealso:
  - module: headroom.netfilter.conntrack_settings
  - module: headroom.netfilter.conntrack_facts
"""

EXAMPLES = r"""
- name: Take the last change back
  headroom.netfilter.conntrack_rollback:

- name: As the host was before it was changed for the first time
  headroom.netfilter.conntrack_rollback:
    to: first
"""

RETURN = r"""
id:
  description: The id of this change, by which it can be taken back in turn. Nothing where nothing was changed.
  returned: always
  type: str
  sample: 20261125T101500Z-0a1b2c
undone:
  description: The changes that were taken back, the last of them first.
  returned: success
  type: list
  elements: str
  sample: [20261125T101000Z-3d4e5f]
restored:
  description: What is again as it was; paths, and live values.
  returned: always
  type: list
  elements: str
  sample: [net.netfilter.nf_conntrack_max is 65536, /etc/sysctl.d/99-conntrack.conf]
not_restored:
  description: What is not as it was, why, and what to do.
  returned: always
  type: list
  elements: str
  sample: ["/etc/sysctl.conf: changed by others since; look at it, and make of it what it is to be"]
state:
  description: What came of it, C(undone) or C(unfinished).
  returned: failure
  type: str
  sample: undone
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.rollback import run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost


def main():
    module = AnsibleModule(
        argument_spec={
            "to": {"type": "str"},
            "lock_seconds": {"type": "int", "default": 60},
            "who": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        answer = run(WritableHost(), options["to"], options["lock_seconds"], options["who"], module.check_mode)
    except ChangeError as error:
        module.fail_json(**dict(error.told, msg=str(error)))
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
