# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The filter render: everything that its documentation says, and nothing that a template could take for its own."""

import yaml

from ansible_collections.headroom.netfilter.plugins.filter import render as module
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import machine

render = module.FilterModule().filters()["render"]


def test_what_is_returned_is_documented(tmp_path):
    documented = yaml.safe_load(module.RETURN)["_value"]["contains"]
    made = render({}, {"render_to": str(tmp_path), "render_machine": None})
    assert list(made) == list(documented)
    assert all(list(file) == list(documented["files"]["contains"]) for file in made["files"])
    assert set(render({}, {})) == set(documented)


def test_every_field_of_a_machine_is_documented_with_its_default():
    fields = yaml.safe_load(module.DOCUMENTATION)["options"]["asked"]["suboptions"]["render_machine"]["suboptions"]
    assert list(fields) == list(machine.Machine._fields)
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    assert defaults == {name: machine.Machine._field_defaults[name] for name in defaults}
    assert fields["architecture"]["choices"] == list(machine.ARCHITECTURES)
    assert fields["init"]["choices"] == list(machine.INITS)
    assert fields["page_size"]["choices"] == list(machine.PAGES)


def test_other_variables_are_not_looked_at(tmp_path):
    class Variables(dict):
        def __getitem__(self, name):
            assert name.startswith("conntrack_")
            return super().__getitem__(name)

    variables = Variables(conntrack_max=300000, other="{{ nowhere }}")
    made = render(variables, {"render_to": str(tmp_path), "render_machine": None})
    assert made["said"][0] == "limit 300000: conntrack_max"
