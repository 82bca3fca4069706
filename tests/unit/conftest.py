# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What the unit tests share."""

import atexit
import json
import shutil
import sys
import tempfile

import pytest

from ansible_collections.headroom.netfilter.tests.unit import golden

try:
    from hypothesis import settings
    from hypothesis.configuration import set_hypothesis_home_dir
except ImportError:
    pass
else:
    # It keeps notes on the code it sees, by default in the working directory.
    NOTES = tempfile.mkdtemp(prefix="hypothesis-")
    atexit.register(shutil.rmtree, NOTES, ignore_errors=True)
    set_hypothesis_home_dir(NOTES)
    # The same examples each time; --hypothesis-profile=deep looks for new ones.
    settings.register_profile("same", max_examples=100, deadline=None, database=None, derandomize=True)
    settings.register_profile("deep", max_examples=3000, deadline=None, database=None)
    settings.load_profile("same")

CONTROLLER = sys.version_info >= (3, 10)
collect_ignore = (
    []
    if CONTROLLER
    else [
        "field/test_owners.py",
        "plugins/action",
        "plugins/filter",
        "plugins/module_utils/_conntrack/outcome/test_inits.py",
        "plugins/plugin_utils",
        "roles",
        "test_run.py",
        "test_runner.py",
        "tools",
    ]
)


def pytest_report_header():
    if CONTROLLER:
        return None
    return "not collected: {0}, which run on controllers (Python 3.10 and later)".format(", ".join(collect_ignore))


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """The laid out tree of a golden host, made once; it is only read."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = golden.lay_out(name, str(tmp_path_factory.mktemp("hosts") / name))
        return made[name]

    return of


@pytest.fixture
def run_module(monkeypatch, capsys):
    """Run a module's main() for real on another machine, and give what it returns."""
    basic = pytest.importorskip("ansible.module_utils.basic", reason="ansible-core is not installed")

    def run(module, host, check_mode=False, **options):
        given = dict(options, _ansible_check_mode=check_mode, _ansible_diff=True)
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
        # Since ansible-core 2.19.
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        door = "Host" if hasattr(module, "Host") else "WritableHost"
        monkeypatch.setattr(module, door, lambda **_options: host)
        with pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return run
