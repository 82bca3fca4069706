# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a host imports, out of a zip file as ansible-core makes it."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

OURS = Path(__file__).resolve().parents[5] / "plugins/module_utils/_conntrack"
HOME = "ansible_collections.headroom.netfilter.plugins.module_utils._conntrack"
SCRIPT = """
import importlib, json, linecache, sys
sys.path.insert(0, sys.argv[1])
compiled = []
if hasattr(sys, "addaudithook"):
    sys.addaudithook(lambda event, about: compiled.append(about[1]) if event == "compile" else None)
for name in sys.argv[2:]:
    importlib.import_module(name)
ours = {name: module for name, module in sys.modules.items() if name.startswith("ansible_collections.")}
said = {
    "compiled": [file for file in compiled if isinstance(file, str) and file.startswith(sys.argv[1])],
    "files": {name: module.__file__ for name, module in ours.items()},
    "origins": {name: module.__spec__.origin for name, module in ours.items()},
    "line": linecache.getline(ours[sys.argv[2]].__file__, 1, ours[sys.argv[2]].__dict__),
}
print(json.dumps(said))
"""


@pytest.fixture
def imported(tmp_path):
    """What a Python says that has imported these rooms' files out of a zip file."""
    payload = tmp_path / "payload.zip"
    with zipfile.ZipFile(str(payload), "w") as archive:
        parts = HOME.split(".")
        for depth in range(1, len(parts)):
            archive.writestr("/".join(parts[:depth]) + "/__init__.py", "")
        for path in OURS.rglob("*.py"):
            archive.write(str(path), "/".join(parts) + "/" + path.relative_to(OURS).as_posix())

    def run(*names):
        command = [sys.executable, "-B", "-c", SCRIPT, str(payload)] + [HOME + "." + name for name in names]
        said = json.loads(subprocess.check_output(command, cwd=str(tmp_path)).decode())
        return said, str(payload)

    return run


def test_each_file_is_compiled_once(imported):
    if not hasattr(sys, "addaudithook"):
        pytest.skip("this Python does not tell what it compiles")
    said, _payload = imported("facts.gather")
    # What leads to the rooms comes before the importer does.
    own = [file for file in said["compiled"] if "/_conntrack/" in file and not file.endswith("/_conntrack/__init__.py")]
    assert len(own) > 10
    assert sorted(own) == sorted(set(own))


def test_files_have_the_names_that_they_have_without_it(imported):
    said, payload = imported("host.door", "kernel")
    place = payload + "/" + HOME.replace(".", "/")
    assert said["files"] == said["origins"]
    assert said["files"][HOME + ".host.door"] == place + "/host/door.py"
    assert said["files"][HOME + ".host"] == place + "/host/__init__.py"
    assert said["files"][HOME + ".kernel"] == place + "/kernel.py"


def test_tracebacks_have_their_lines(imported):
    said, _payload = imported("kernel")
    assert said["line"].startswith("# Copyright")


def test_what_is_not_there_is_not_found(imported):
    with pytest.raises(subprocess.CalledProcessError):
        imported("nothing")


def test_a_machine_that_has_the_collection_as_files_imports_as_ever():
    import ansible_collections.headroom.netfilter.plugins.module_utils._conntrack as home

    assert home.Importer not in sys.path_hooks
