# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Patterns for the automation platform: what their loader reads is there, and what they ask for is what the playbooks read.

The loader is core/tasks/pattern.py and core/utils/controller/helpers.py of ansible/pattern-service, with its specification 1.0.0;
galaxy-importer and ansible-lint, steps of make test, look at the files.
"""

import json
import os
import re

import pytest
import yaml

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.said import SEVERITIES
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy, read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATTERNS = os.path.join(REPO, "extensions", "patterns")
NAMES = ("audit", "tune")
# The loader asks for each of them by its name.
RESOURCES = {
    "controller_project",
    "controller_execution_environment",
    "controller_labels",
    "controller_job_templates",
}
# Answers that a survey offers, in the order of the one who reads them.
CHOICES = {
    "conntrack_timeout_profile": sorted(PROFILES),
    "conntrack_takeover": ["false", "true"],
    "conntrack_shrink": ["false", "true"],
    "audit_fail_on": ["never", *reversed(SEVERITIES)],
}


def text(*path):
    with open(os.path.join(PATTERNS, *path), encoding="utf-8") as opened:
        return opened.read()


def pattern(name):
    return json.loads(text(name, "meta", "pattern.json"))


def template(name):
    (found,) = pattern(name)["aap_resources"]["controller_job_templates"]
    return found


def questions(name):
    return template(name)["survey"]["spec"]


def options(name):
    """Of the play's argument specification."""
    return set(yaml.safe_load(text(name, "playbooks", name + ".meta.yml"))["argument_specs"][name]["options"])


def test_each_folder_is_a_pattern():
    assert tuple(sorted(os.listdir(PATTERNS))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_the_loader_reads_is_there(name):
    found = pattern(name)
    assert (found["name"], found["schema_version"]) == (name, "1.0.0")
    assert 0 < len(found["title"]) <= 64
    assert found["short_description"][-1] != "."
    resources = found["aap_resources"]
    assert set(resources) == RESOURCES
    for kind in ("controller_project", "controller_execution_environment"):
        assert resources[kind]["name"]
        assert resources[kind]["description"]
    assert re.match(r"[a-z_]+/[a-z_]+$", resources["controller_execution_environment"]["image_name"])
    assert set(template(name)["labels"]) <= set(resources["controller_labels"])
    # Two files beside each other count as two playbooks.
    assert template(name)["primary"] is True
    assert set(os.listdir(os.path.join(PATTERNS, name, "playbooks"))) == {name + ".yml", name + ".meta.yml"}
    assert template(name)["playbook"] == name + ".yml"
    assert text(name, "README.md").startswith("# " + found["title"])


@pytest.mark.parametrize("name", NAMES)
def test_a_pattern_plays_the_playbook_of_its_name(name):
    (play,) = yaml.safe_load(text(name, "playbooks", name + ".yml"))
    # Of the archive that the pattern came with, wherever that lies.
    imported = os.path.join(PATTERNS, name, "playbooks", play["ansible.builtin.import_playbook"])
    assert os.path.normpath(imported) == os.path.join(REPO, "playbooks", name + ".yml")
    assert os.path.exists(imported)


@pytest.mark.parametrize("name", NAMES)
def test_a_survey_offers_what_is_read(name):
    for question in questions(name):
        assert question["variable"] in options(name)
        assert question["required"] is False
        assert {"question_name", "question_description"} <= set(question)
        if question["type"] == "multiplechoice":
            assert question["choices"] == CHOICES[question["variable"]]
            assert question["default"] in question["choices"]
        else:
            assert question["type"] == "integer"
            assert "default" not in question


def test_a_survey_left_as_it_is_asks_for_nothing():
    """What is not answered comes as the empty string."""
    assert read({one["variable"]: one.get("default", "") for one in questions("tune")}) == Policy()


def test_all_variables_of_the_role_are_the_plays():
    assert options("tune") == {"conntrack_hosts", *("conntrack_" + name for name in Policy._fields)}
