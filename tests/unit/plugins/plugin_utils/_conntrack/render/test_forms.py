# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Each form puts on a host what the model says, whatever is in it: its shell is run, the rest is unpacked."""

import base64
import json
import os
import re
import subprocess
import zlib
from urllib.parse import unquote

import pytest
import yaml

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import (
    cloud_init,
    container,
    folder,
    ignition,
    kickstart,
    preseed,
)
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.machine import Machine
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.model import SCRIPT, model
from ansible_collections.headroom.netfilter.tests.unit.examples import GIB

SIZED = model(Policy(), Machine(4 * GIB))
UNSIZED = model(Policy())
# Tells how it was called, and holds what ends a section, a here-document, a quote or an expression elsewhere.
HOSTILE = """\
#!/bin/sh
echo "$0|$*"
exit 0
%end
END
'"`$(touch hacked)` {{ 7 * 7 }} {# é \\
d-i x/y string z
"""
SHELL = {
    "user-data": (cloud_init.user_data, lambda text: yaml.safe_load(text)["bootcmd"][0], ""),
    "kickstart.ks": (
        kickstart.kickstart,
        lambda text: re.search(r"(?ms)^%post .*?$\n(.*?)^%end$", text).group(1),
        "--root /",
    ),
    "preseed.cfg": (
        preseed.preseed,
        lambda text: re.search(r"(?m)^d-i preseed/late_command string (.*)$", text).group(1),
        "--root /",
    ),
}


@pytest.mark.parametrize("name", SHELL)
def test_the_script_comes_whole_and_is_called(name, tmp_path):
    form, shell, options = SHELL[name]
    for stand_in, first in (("cloud-init-per", 3), ("in-target", 1)):
        (tmp_path / stand_in).write_text(f'#!/bin/sh\nshift {first - 1}\n"$@"\n')
        (tmp_path / stand_in).chmod(0o755)
    home = tmp_path / "local/sbin"
    text = shell(form(SIZED._replace(script=HOSTILE))).replace(os.path.dirname(SCRIPT), str(home))
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", text],
        cwd=tmp_path,
        env={"PATH": path},
        capture_output=True,
        check=False,
    )
    there = home / os.path.basename(SCRIPT)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"{there}|{options}\n"
    assert there.read_text(encoding="utf-8") == HOSTILE
    assert there.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in home.iterdir()] == [there.name]
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("name", SHELL)
def test_a_script_that_fails_fails_the_form(name, tmp_path):
    form, shell, _options = SHELL[name]
    for stand_in, first in (("cloud-init-per", 3), ("in-target", 1)):
        (tmp_path / stand_in).write_text(f'#!/bin/sh\nshift {first - 1}\n"$@"\n')
        (tmp_path / stand_in).chmod(0o755)
    text = shell(form(SIZED._replace(script="#!/bin/sh\nexit 3\n"))).replace(
        os.path.dirname(SCRIPT), str(tmp_path / "l")
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert subprocess.run(["sh", "-c", text], cwd=tmp_path, env={"PATH": path}, check=False).returncode == 3


def unpacked(contents):
    source = contents["source"]
    if contents.get("compression") == "gzip":
        return zlib.decompress(base64.b64decode(source[len("data:;base64,") :]), 31).decode("utf-8")
    assert re.fullmatch(r"data:,[A-Za-z0-9%/=,:._~-]*", source)
    return unquote(source[len("data:,") :])


@pytest.mark.parametrize("made", [SIZED, UNSIZED], ids=["sized", "unsized"])
def test_ignition_writes_the_files(made):
    config = json.loads(ignition.ignition(made))
    assert config["ignition"] == {"version": "3.3.0"}
    found = {file["path"]: (unpacked(file["contents"]), f"{file['mode']:04o}") for file in config["storage"]["files"]}
    assert found == {file.path: (file.text, file.mode) for file in made.files}


@pytest.mark.parametrize("made", [SIZED, UNSIZED], ids=["sized", "unsized"])
def test_a_container_is_built_of_what_is_in_the_folder(made):
    there = {file.path: file for file in folder.contents(made)}
    lines = [line.split() for line in container.containerfile(made).splitlines() if line.startswith("COPY ")]
    assert {target: (source, mode) for _copy, _owner, mode, source, target in lines} == {
        **{file.path: ("tree" + file.path, f"--chmod={file.mode}") for file in made.files},
        **(
            {
                "/usr/lib/bootc/kargs.d/10-headroom-netfilter.toml": (
                    "kargs.d/10-headroom-netfilter.toml",
                    "--chmod=0644",
                )
            }
            if made is SIZED
            else {}
        ),
    }
    assert {source for _copy, _owner, _mode, source, _target in lines} <= set(there)


def test_arguments_of_the_kernel_are_toml():
    tomllib = pytest.importorskip("tomllib")
    assert tomllib.loads(container.kargs(SIZED)) == {"kargs": ["nf_conntrack.hashsize=131072"]}
    assert container.kargs(UNSIZED) is None


def test_of_a_machine_all_is_said():
    assert [file.path for file in SIZED.files] == list(files.MANAGED)
    (sysctl,) = (file.text for file in SIZED.files if file.path == files.SYSCTL)
    assert "net.netfilter.nf_conntrack_max = 131072\n" in sysctl
    assert (
        folder.said(SIZED)[0] == "limit 131072: 2 percent of 4.0 GiB at 392 B an entry = 218624, rounded down to 2^17"
    )


def test_of_none_what_is_the_same_on_all_is_said_and_a_boot_sizes():
    said = {file.path: file.text for file in UNSIZED.files}
    assert list(said) == [*files.MANAGED, *files.BOOT]
    assert "_timeout_established = 7440\n" in said[files.SYSCTL]
    assert not re.search(r"_(expect_)?max =|_buckets =|hashsize=", said[files.SYSCTL] + said[files.MODPROBE])
    assert UNSIZED.arguments == ()
    assert folder.said(UNSIZED) == ["limit and buckets: by each machine itself, of its memory"]


def test_a_limit_that_is_named_needs_no_machine():
    made = model(Policy(max=300000))
    assert [file.path for file in made.files] == list(files.MANAGED)
    assert made.arguments == ("nf_conntrack.hashsize=300032",)


@pytest.mark.parametrize(
    ("policy", "machine", "said"),
    [
        (Policy(state="absent"), None, "conntrack_state: 'absent' will not do: "),
        (Policy(takeover=True), None, "conntrack_takeover: True will not do: "),
        (Policy(max=10**7), Machine(GIB), "conntrack_max: 10000000 entries take "),
        (Policy(expected_connections=10**6), Machine(GIB), "conntrack_expected_connections: 1000000 do not fit into"),
    ],
)
def test_what_a_pipeline_cannot_have_is_refused(policy, machine, said):
    with pytest.raises(PolicyError) as caught:
        model(policy, machine)
    assert caught.value.problems[0].startswith(said)
