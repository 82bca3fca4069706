# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What is rendered, judged by the tools of each form, and done by those that can do it here.

What APT has is unpacked, not installed (programs.py); what PyPI has lies in .cache/formats. A test whose tool cannot be had is skipped
and says so. Needs root, as installers do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import programs
import pytest
import yaml

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import folder
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.model import SCRIPT
from ansible_collections.headroom.netfilter.tests.unit import golden

# Where what was installed stays.
REPO = Path(os.environ.get("CHECKOUT") or Path(__file__).parents[2])
MACHINE = {"memory": "4 GiB", "kernel": "6.1.0-37-amd64"}
RELEASES = ("RHEL5", "RHEL7", "RHEL10")
# What a word of a command may have.
MOST_ARGUMENT = 131072
HOME = os.path.dirname(SCRIPT)


def write(to: Path, machine: Any = None, **variables: Any) -> Path:
    made = folder.as_asked(variables, {"render_to": str(to), "render_machine": machine})
    assert made["refusals"] == []
    for file in made["files"]:
        place = Path(file["dest"])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(file["content"], encoding="utf-8")
        place.chmod(int(file["mode"], 8))
    return to


@pytest.fixture(scope="module", params=[MACHINE, None], ids=["sized", "unsized"])
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rendered"), request.param)


@pytest.fixture(scope="module")
def script_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For forms that carry the script, which are the same for every machine."""
    return write(tmp_path_factory.mktemp("script"))


@pytest.fixture(scope="module")
def from_pypi() -> Callable[[str], Path]:
    """A command of requirements-formats.txt."""
    done = subprocess.run(
        [REPO / "tools/venv", ".cache/formats", "requirements-formats.txt", sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"not to be had from PyPI: {done.stderr.strip()[-300:]}")
    return lambda name: REPO / ".cache/formats/bin" / name


def judged(*command: str | Path, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def spoilt(path: Path, found: str, wrong: str) -> Path:
    """A form that will not do, beside one that does: its judge is one."""
    text = path.read_text(encoding="utf-8")
    assert found in text
    other = path.with_name(f"spoilt-{path.name}")
    other.write_text(text.replace(found, wrong, 1), encoding="utf-8")
    return other


def cloud_init() -> tuple[list[str], dict[str, str]]:
    """The command, on the system's Python, whose packages APT's are made for."""
    program = programs.program("cloud-init", "cloud-init")
    packages = str(program.root / "usr/lib/python3/dist-packages")
    return ["/usr/bin/python3", program.path], {**program.environment, "PYTHONPATH": packages}


def test_user_data_is_cloud_config(script_in: Path) -> None:
    command, environment = cloud_init()
    path = script_in / "user-data"
    code, said = judged(*command, "schema", "--config-file", path, environment=environment)
    assert (code, "Valid cloud-config" in said) == (0, True), said
    path = spoilt(path, "  - |\n", "  - 7\n  - |\n")
    assert judged(*command, "schema", "--config-file", path, environment=environment)[0] != 0


# In a place of its own: folders that are written to are nobody else's.
BOOT = """
for folder in /var/lib /run /usr/local; do mount -t tmpfs tmpfs $folder; done
mount -t overlay -o lowerdir="$1"/etc:/etc overlay /etc
mkdir -p /usr/local/bin /var/lib/cloud/instances/one
cp "$1"/usr/bin/cloud-init-per /usr/local/bin
ln -s instances/one /var/lib/cloud/instance
user_data=$2; shift 2
"$@" --file "$user_data" single --name bootcmd --frequency always
code=$?
cat /usr/local/sbin/calls
exit $code
"""


def test_cloud_init_calls_the_script_with_its_own_cloud_init_per(tmp_path: Path) -> None:
    """The real one runs the real user-data, but for the script, which would size this machine."""
    (command, environment), script = cloud_init(), f"#!/bin/sh\necho called with $# arguments >>{HOME}/calls\n"
    text = yaml.safe_load((write(tmp_path) / "user-data").read_text(encoding="utf-8"))["bootcmd"][0]
    before, _sep, rest = text.partition("<<END | gzip -dc >")
    there = f"{before}<<END >{rest.partition(chr(10))[0]}\n"
    packed = subprocess.run(["base64"], input=script, capture_output=True, text=True, check=True).stdout
    text = there + packed + "END\n" + rest.partition("\nEND\n")[2]
    (tmp_path / "user-data").write_text("#cloud-config\n" + yaml.safe_dump({"bootcmd": [text]}), encoding="utf-8")
    root = Path(command[1]).parents[2]
    code, said = judged(
        *("unshare", "--mount", "sh", "-c", BOOT, "sh", root, tmp_path / "user-data", *command), environment=environment
    )
    assert (code, said.splitlines()[-1]) == (0, "called with 0 arguments"), said


@pytest.mark.parametrize("release", RELEASES)
def test_kickstart_is_taken(script_in: Path, from_pypi: Callable[[str], Path], release: str) -> None:
    path = script_in / "kickstart.ks"
    code, said = judged(from_pypi("ksvalidator"), "-v", release, path)
    assert code == 0, said


def test_kickstart_is_judged(script_in: Path, from_pypi: Callable[[str], Path]) -> None:
    path = spoilt(script_in / "kickstart.ks", "--erroronfail", "--nosuch")
    assert judged(from_pypi("ksvalidator"), "-v", RELEASES[-1], path)[0] != 0


def test_preseed_is_taken_by_debconf(script_in: Path) -> None:
    if not shutil.which("debconf-set-selections"):
        pytest.skip("debconf is not installed")
    path = script_in / "preseed.cfg"
    code, said = judged("debconf-set-selections", "--checkonly", path)
    assert (code, said) == (0, "")
    assert max(map(len, path.read_bytes().splitlines())) < MOST_ARGUMENT
    assert judged("debconf-set-selections", "--checkonly", spoilt(path, " string ", "\n"))[0] != 0


def test_ignition_is_valid(rendered: Path) -> None:
    program = programs.program("ignition-validate", "ignition")
    path = rendered / "ignition.json"
    code, said = judged(program.path, path, environment=program.environment)
    assert (code, said) == (0, "")
    assert judged(program.path, spoilt(path, '"data:,', '"daten:,'), environment=program.environment)[0] != 0


def test_the_containerfile_is_clean(rendered: Path, from_pypi: Callable[[str], Path]) -> None:
    path = rendered / "Containerfile"
    code, said = judged(from_pypi("hadolint"), path)
    assert (code, said) == (0, "")
    assert judged(from_pypi("hadolint"), spoilt(path, "\nCOPY", "\nCOPYING"))[0] != 0


def test_a_container_is_built_with_the_files_as_they_lie_on_the_host(rendered: Path, tmp_path: Path) -> None:
    program = programs.program("buildah", "buildah")
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    stores = ("--storage-driver", "vfs", "--root", tmp_path / "root", "--runroot", tmp_path / "run")
    options = ("--isolation", "chroot", "--signature-policy", tmp_path / "policy.json", "--build-arg", "BASE=scratch")
    code, said = judged(
        *(
            "unshare",
            "--mount",
            program.path,
            *stores,
            "build",
            *options,
            "--output",
            f"type=local,dest={tmp_path}/built",
            rendered,
        ),
        environment=program.environment,
    )
    assert code == 0, said
    wanted = {
        str(path.relative_to(rendered / "tree")): path for path in (rendered / "tree").rglob("*") if path.is_file()
    }
    kargs = [path.relative_to(rendered) for path in rendered.glob("kargs.d/*.toml")]
    wanted.update({f"usr/lib/bootc/{path}": rendered / path for path in kargs})
    built = {
        str(path.relative_to(tmp_path / "built")): path for path in (tmp_path / "built").rglob("*") if path.is_file()
    }
    assert {name: (path.read_bytes(), path.stat().st_mode) for name, path in built.items()} == {
        name: (path.read_bytes(), path.stat().st_mode) for name, path in wanted.items()
    }


def shells(rendered: Path) -> dict[str, str]:
    """What each form has a shell do."""
    kickstart = (rendered / "kickstart.ks").read_text(encoding="utf-8")
    preseed = (rendered / "preseed.cfg").read_text(encoding="utf-8")
    return {
        "user-data": yaml.safe_load((rendered / "user-data").read_text(encoding="utf-8"))["bootcmd"][0],
        "kickstart": kickstart.partition("%post")[2].partition("\n")[2].partition("%end")[0],
        "preseed": preseed.partition("late_command string ")[2],
    }


@pytest.mark.parametrize("form", ["user-data", "kickstart", "preseed", "apply.sh"])
def test_its_shell_is_clean(script_in: Path, tmp_path: Path, form: str) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    path = script_in / form
    if form != "apply.sh":
        path = tmp_path / form
        path.write_text("#!/bin/sh\n" + shells(script_in)[form], encoding="utf-8")
    assert judged("shellcheck", path) == (0, "")


def test_units_are_verified(script_in: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    units = script_in / "tree/etc/systemd/system"
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:", "SYSTEMD_LOG_LEVEL": "warning"}
    (unit,) = units.glob("*.service")
    assert judged("systemd-analyze", "verify", unit, environment=environment) == (0, "")
    said = judged("systemd-analyze", "verify", spoilt(unit, "Type=", "Kind="), environment=environment)[1]
    assert "Unknown key" in said


@pytest.mark.parametrize("form", ["kickstart", "preseed"])
@pytest.mark.parametrize("host", ["debian11_loadable", "debian12", "centos7_firewalld"])
def test_an_installer_leaves_what_is_rendered_for_such_a_machine(form: str, host: str, tmp_path: Path) -> None:
    """The tree is what an installer calls the script in, but for its name."""
    facts = golden.load(host, "facts")["root"]
    tree = Path(golden.lay_out(host, str(tmp_path / "host")))
    there = {
        "memory": f"{facts['memory']['total_bytes'] // 1024} kB",
        "kernel": facts["kernel"]["release"],
        "systemd_sysctl": facts["services"]["systemd_sysctl"],
    }
    rendered = write(tmp_path / "rendered", there)
    (tmp_path / "in-target").write_text('#!/bin/sh\n"$@"\n')
    (tmp_path / "in-target").chmod(0o755)
    text = shells(rendered)[form].replace("--root /", f"--root {tree}").replace(HOME, str(tmp_path / "sbin"))
    code, said = judged("sh", "-c", text, environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert code == 0, said
    for path in files.MANAGED:
        name = path.lstrip("/")
        assert (tree / name).read_text() == (rendered / "tree" / name).read_text()
