# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""apply.sh on trees of hosts: what it writes is what the plan has, once, and goes without a trace; killed anywhere, too."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy, read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES, RFC_FLOORS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import Wrong
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import planned
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.script import JOURNAL, script
from ansible_collections.headroom.netfilter.tests.integration.programs import program
from ansible_collections.headroom.netfilter.tests.unit import golden, inits

pytestmark = pytest.mark.on_one_python

# Of its steps, the first and each that is so many further on; 1 for all.
KILLS_EVERY = int(os.environ.get("KILLS_EVERY", "5"))
MAIN = 'main "$@"\n'
# By package, and of APT where it is not here.
SHELLS = {"dash": ["dash"], "busybox-static": ["busybox", "ash"], "bash": ["bash", "--posix"]}
# A machine of 64 bits and 4 KiB pages, as those that run the tests are: what a tree does not tell is theirs.
HOSTS = ["centos5", "centos6", "centos7_firewalld", "ubuntu1604", "alpine", "devuan"]
# Under one shell.
MORE_HOSTS = ["debian11_loadable", "debian13", "builtin_618"]
SYSTEMD = [files.SYSCTL, files.MODPROBE, files.MODULES_LOAD, files.UDEV]
WRITTEN = {
    "centos5": [
        "/etc/modprobe.conf",
        "/etc/sysconfig/iptables-config",
        "/etc/sysconfig/modules/ip_conntrack.modules",
        "/etc/sysctl.conf",
    ],
    "centos6": [
        "/etc/modprobe.d/nf_conntrack.conf",
        "/etc/sysconfig/iptables-config",
        "/etc/sysconfig/modules/nf_conntrack.modules",
        "/etc/sysctl.conf",
    ],
    "builtin_618": [files.SYSCTL],
    "alpine": [files.MODPROBE, files.MODULES_LOAD, files.SYSCTL],
    "devuan": [files.MODPROBE, files.MODULES_LOAD, files.SYSCTL],
}


def lay_out(name, where):
    """A golden host, or Debian's kernel below an init of another distribution."""
    tree = Path(golden.lay_out({"alpine": "debian12", "devuan": "debian12"}.get(name, name), str(where)))
    more = {"alpine": inits.ALPINE, "devuan": inits.DEVUAN}.get(name, {})
    if more:
        for path in tree.rglob("systemd-sysctl"):
            path.unlink()
        shutil.rmtree(tree / "etc/firewalld", ignore_errors=True)
        for folder in ("etc/sysctl.d", "etc/modprobe.d", "etc/modules-load.d"):
            (tree / folder).mkdir(parents=True, exist_ok=True)
    for path, text in more.items():
        target = tree / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            target.symlink_to(text[3:])
        else:
            target.write_text(text, encoding="utf-8")
    (tree / "var/lib").mkdir(parents=True, exist_ok=True)
    return tree


@pytest.fixture(params=SHELLS)
def shell(request):
    name, *options = SHELLS[request.param]
    return [program(name, request.param).path, *options]


@pytest.fixture(name="apply", scope="module")
def an_apply(tmp_path_factory):
    """The script for a policy, run on a tree."""
    folder = tmp_path_factory.mktemp("script")

    def run(tree, *options, shell=("dash",), text=None, **fields):
        path = folder / "apply.sh"
        variables = {f"conntrack_{name}": value for name, value in fields.items()}
        path.write_text(script(read(variables)) if text is None else text, encoding="utf-8")
        done = subprocess.run(
            [*shell, path, "--root", tree, *options],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def everything(tree):
    """All that is in a tree: bytes, modes, owners and times of files, targets of links; folders without their times."""
    found = {}
    for folder, folders, names in os.walk(tree):
        for name in [*folders, *names]:
            path = Path(folder, name)
            said = path.lstat()
            what = [stat.filemode(said.st_mode), said.st_uid, said.st_gid]
            if path.is_symlink():
                what.append(os.readlink(path))
            elif path.is_file():
                # Of BusyBox cp -p keeps whole seconds.
                what += [path.read_bytes(), int(said.st_mtime)]
            found[str(path.relative_to(tree))] = what
    return found


def own(tree):
    """Without the journal."""
    return {path: what for path, what in everything(tree).items() if not f"/{path}".startswith("/var/lib/headroom")}


def test_there_is_nothing_that_a_shell_would_not_take():
    for policy in (Policy(), read({"conntrack_tcp_loose": False, "conntrack_rfc_floors": "enforce"})):
        assert (
            subprocess.run(["sh", "-n"], input=script(policy), text=True, check=False, capture_output=True).stderr == ""
        )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"takeover": True}, ["conntrack_takeover: True will not do: a script takes nobody's lines over"]),
        ({"initramfs": True}, ["conntrack_initramfs: True will not do"]),
        ({"expire_existing": True}, ["conntrack_expire_existing: True will not do: a script shortens no entries"]),
        ({"state": "absent"}, ["conntrack_state: 'absent' will not do: a script gives back what was with --undo"]),
        (
            {"memory_percent": 1.23456},
            ["conntrack_memory_percent: 1.23456 will not do: a script reckons with 4 decimals"],
        ),
        ({"headroom": 2.00001}, ["conntrack_headroom: 2.00001 will not do"]),
        (
            {"timeouts": {"udp": 2592000}},
            ["conntrack_timeouts: udp: 2592000 will not do: expected at most 2147483 seconds"],
        ),
        ({"takeover": True, "headroom": 2.00001}, ["conntrack_takeover", "conntrack_headroom"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_a_script_cannot_do_is_refused(fields, said):
    with pytest.raises(Wrong) as wrong:
        script(read({f"conntrack_{name}": value for name, value in fields.items()}))
    lines = str(wrong.value).split("\n")
    assert len(lines) == len(said)
    assert all(line.startswith(start) for line, start in zip(lines, said, strict=True))


@pytest.mark.parametrize("name", HOSTS)
def test_what_is_written_once_goes_without_a_trace(name, apply, shell, tmp_path):
    written_once(name, apply, shell, tmp_path)


@pytest.mark.parametrize("name", MORE_HOSTS)
def test_what_is_written_once_on_more_hosts(name, apply, tmp_path):
    written_once(name, apply, ["dash"], tmp_path)


def written_once(name, apply, shell, tmp_path):
    tree = lay_out(name, tmp_path / "a tree")
    before = everything(tree)
    code, said, _errors = apply(tree, "--check", "--diff", shell=shell)
    assert (code, everything(tree)) == (3, before)
    assert "something would be changed" in said
    assert apply(tree, shell=shell)[::2] == (0, "")
    after = own(tree)
    changed = [
        f"/{path}" for path, what in sorted(after.items()) if before.get(path) != what and "d" not in what[0][:1]
    ]
    assert changed == sorted(WRITTEN.get(name, SYSTEMD))
    code, said, errors = apply(tree, shell=shell)
    assert (code, errors, own(tree)) == (0, "", after)
    assert "nothing to do" in said
    assert apply(tree, "--undo", "--check", shell=shell)[0] == 3
    assert own(tree) == after
    assert apply(tree, "--undo", shell=shell)[::2] == (0, "")
    assert everything(tree) == before
    assert "nothing to undo" in apply(tree, "--undo", shell=shell)[1]


@pytest.mark.parametrize("fields", [{"expected_connections": 50000}, {"apply": False}], ids=str)
@pytest.mark.parametrize("name", [name for name in golden.NAMES if name not in ("armv7", "aarch64_64k")])
def test_files_are_the_plans_own(name, fields, apply, tmp_path):
    """Where the role writes the same files; of an older host the numbers are."""
    tree = lay_out(name, tmp_path / "tree")
    facts = gather(golden.GoldenHost(name, str(tree)), ["all"])
    made = planned(facts, read({f"conntrack_{key}": value for key, value in fields.items()}))
    code, said, errors = apply(tree, **fields)
    if facts["state"] == "absent" or not facts["kernel"]["init_netns"]:
        assert code == 2 or "no connection tracking" in said or fields.get("apply") is False
        return
    refused = [line for line in made.refusals if not line.startswith("conntrack_apply")]
    assert (code == 2) == bool(refused), (errors, refused)
    if refused:
        return
    if name in ("centos5", "centos6"):
        lines = (tree / "etc/sysctl.conf").read_text(encoding="utf-8").split("# BEGIN headroom.netfilter\n")[1]
        assert (
            lines == "".join(f"{key} = {value}\n" for key, value in made.sysctl.items()) + "# END headroom.netfilter\n"
        )
        return
    assert {path: (tree / path[1:]).read_text(encoding="utf-8") for path in made.contents} == made.contents


def test_an_image_that_never_ran_gets_what_needs_no_memory(apply, tmp_path):
    for folder in ("etc/sysctl.d", "usr/lib/systemd", "lib/modules/6.1.0-37-amd64/kernel/net/netfilter"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/systemd-sysctl").touch()
    (tmp_path / "lib/modules/6.1.0-37-amd64/modules.dep").touch()
    assert apply(tmp_path)[0] == 0
    assert "nf_conntrack_max = 65536\n" in (tmp_path / "etc/sysctl.d/99-conntrack.conf").read_text()
    assert apply(tmp_path)[1].endswith("nothing to do\n")


def test_a_system_that_is_being_installed_is_sized_for_the_machine_that_runs(apply, tmp_path):
    """Its own kernel is another than the installer's, of which nothing is in force."""
    for folder in ("etc/sysctl.d", "lib/systemd", "lib/modules/5.10.0-9-amd64/kernel/net/netfilter", "proc/sys/kernel"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "lib/systemd/systemd-sysctl").touch()
    (tmp_path / "lib/modules/5.10.0-9-amd64/modules.dep").touch()
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.1.0-1-installer\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal:        8388608 kB\n")
    code, said, _errors = apply(tmp_path)
    assert (code, "no connection tracking" in said) == (0, True)
    (tmp_path / "lib/modules/5.10.0-9-amd64/kernel/net/netfilter/nf_conntrack.ko").touch()
    code, said, errors = apply(tmp_path)
    assert (code, errors) == (0, "")
    # 2 percent of 8 GiB at 448 B + 8 B
    assert "nf_conntrack_max = 262144\n" in (tmp_path / "etc/sysctl.d/99-conntrack.conf").read_text()
    assert "nothing to do" in apply(tmp_path)[1]


# Before each of its steps the script counts, and is killed at one of them; of a file that it writes only half is there then.
KILLED = """
step() {{
    echo >>{count}
    [ "$(wc -l <{count})" -lt {at} ] || kill -9 $$
}}
mkdir() {{ step; command mkdir "$@"; }}
cp() {{ step; command cp "$@"; }}
mv() {{ step; command mv "$@"; }}
rm() {{ step; command rm "$@"; }}
chmod() {{ step; command chmod "$@"; }}
rmdir() {{ step; command rmdir "$@"; }}
whole_content() {{
"""


def killed(text, at, count):
    """The script that does not outlive its step ``at``."""
    functions = text.split(MAIN)[0].replace("\ncontent() {\n", KILLED.format(count=count, at=at))
    halved = 'content() {\n    whole_content "$1" | head -c 20\n    step >/dev/null\n    whole_content "$1" | tail -c +21\n}\n'
    return functions + halved + MAIN


@pytest.mark.parametrize("name", ["centos5", "debian13"])
def test_killed_at_any_step(name, apply, tmp_path):
    """The next run completes it, and --undo restores, be it the next."""
    origin = lay_out(name, tmp_path / "origin")
    before = everything(origin)
    done = shutil.copytree(origin, tmp_path / "done", symlinks=True)
    apply(done)
    wanted = {path: what[:4] for path, what in own(done).items()}
    outlived = []
    for at in range(1, 200, KILLS_EVERY):
        tree, count = tmp_path / f"tree{at}", tmp_path / f"count{at}"
        subprocess.run(["cp", "-a", origin, tree], check=True)
        code, _said, _errors = apply(tree, text=killed(script(Policy()), at, count))
        if code == 0:
            break
        assert code == -9
        outlived.append(at)
        if at % 2:
            assert apply(tree)[::2] == (0, "")
            assert {path: what[:4] for path, what in own(tree).items()} == wanted
        assert apply(tree, "--undo")[::2] == (0, "")
        assert everything(tree) == before
    assert outlived[-1] > 40


def test_an_undo_that_is_killed_is_ended_by_the_next(apply, tmp_path):
    origin = lay_out("centos5", tmp_path / "origin")
    before = everything(origin)
    outlived = []
    for at in range(2, 200, KILLS_EVERY):
        tree, count = tmp_path / f"tree{at}", tmp_path / f"count{at}"
        subprocess.run(["cp", "-a", origin, tree], check=True)
        apply(tree)
        code, _said, _errors = apply(tree, "--undo", text=killed(script(Policy()), at, count))
        if code == 0:
            break
        outlived.append(at)
        apply(tree, "--undo")
        assert everything(tree) == before
    assert outlived[-1] > 10


def linked(tree):
    (tree / files.SYSCTL[1:]).symlink_to("/dev/null")


def foldered(tree):
    (tree / files.MODPROBE[1:]).mkdir(parents=True)


def opened(tree):
    (tree / "etc/sysctl.d").chmod(0o777)


def linked_folder(tree):
    shutil.rmtree(tree / "etc/udev/rules.d")
    (tree / "etc/udev/rules.d").symlink_to("/tmp")


def later(tree):
    (tree / "etc/sysctl.d/99-zz.conf").write_text("# x\n-net/netfilter/nf_conntrack_max = 1000\n")


def optional(tree):
    (tree / "etc/modprobe.d/zz.conf").write_text("options nf_conntrack hashsize=1000\n")


def terminal(tree):
    (tree / "etc/sysctl.d/99-zz.conf").write_text("net.nf_conntrack_max = \x1b]0;x\x07$(touch /tmp/x)\n")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (linked, "/etc/sysctl.d/99-conntrack.conf: a link to /dev/null is there"),
        (foldered, "/etc/modprobe.d/nf_conntrack.conf: it is no regular file"),
        (opened, "/etc/sysctl.d: others than root may write there"),
        (linked_folder, "/etc/udev/rules.d: a link"),
        (
            later,
            "/etc/sysctl.d/99-zz.conf wins over /etc/sysctl.d/99-conntrack.conf, line 2: max = 1000, where 49152 is planned",
        ),
        (optional, "/etc/modprobe.d/zz.conf, line 1, gives nf_conntrack another hashsize than the 49152 planned"),
        (terminal, "line 1: max = ?]0;x?$(touch?/tmp/x), where 49152 is planned"),
    ],
)
def test_what_root_must_not_write_is_refused(harm, said, apply, shell, tmp_path):
    tree = lay_out("debian13", tmp_path / "tree")
    for folder in ("etc/modprobe.d", "etc/udev/rules.d"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    harm(tree)
    before = everything(tree)
    code, _said, errors = apply(tree, shell=shell)
    assert (code, everything(tree)) == (2, before)
    assert said in errors
    assert errors.endswith("nothing was changed\n")
    assert "\x1b" not in errors


def test_a_hold_keeps_everything_as_it_is(apply, tmp_path):
    tree = lay_out("debian13", tmp_path / "tree")
    (tree / "etc/headroom").mkdir()
    (tree / "etc/headroom/netfilter.hold").write_text("moving house\n")
    before = everything(tree)
    assert apply(tree) == (
        2,
        "",
        "apply.sh: /etc/headroom/netfilter.hold keeps this host from being changed: moving house; take it away to end that\n",
    )
    assert everything(tree) == before


@pytest.mark.parametrize("enforced", [False, True])
def test_floors_of_the_rfcs_where_addresses_are_translated(enforced, apply, tmp_path):
    tree = lay_out("debian12", tmp_path / "tree")
    apply(tree, **({"rfc_floors": "enforce"} if enforced else {}))
    udp = RFC_FLOORS["udp"].seconds if enforced else PROFILES["server"].seconds()["udp"]
    assert f"nf_conntrack_udp_timeout = {udp}\n" in (tree / files.SYSCTL[1:]).read_text()


def test_what_others_have_changed_since_is_left_and_named(apply, tmp_path):
    tree = lay_out("centos5", tmp_path / "tree")
    before = (tree / "etc/sysctl.conf").read_text()
    apply(tree)
    with (tree / "etc/sysctl.conf").open("a") as config:
        config.write("vm.swappiness = 10\n")
    (tree / "etc/sysconfig/iptables-config").write_text("IPTABLES_MODULES=\n")
    code, said, errors = apply(tree, "--undo")
    assert code == 1
    assert "/etc/sysctl.conf: changed since; our lines are out of it" in said
    assert (tree / "etc/sysctl.conf").read_text() == before + "vm.swappiness = 10\n"
    assert "/etc/sysconfig/iptables-config: somebody has changed it since" in errors
    assert (tree / "etc/sysconfig/iptables-config").read_text() == "IPTABLES_MODULES=\n"
    assert (tree / JOURNAL[1:]).is_dir()


def test_another_policy_replaces_what_is_there_and_undo_goes_to_the_first(apply, tmp_path):
    tree = lay_out("debian13", tmp_path / "tree")
    before = everything(tree)
    apply(tree)
    assert apply(tree, max=90000)[0] == 0
    assert "nf_conntrack_max = 90000\n" in (tree / files.SYSCTL[1:]).read_text()
    assert apply(tree, "--undo")[0] == 0
    assert everything(tree) == before


@pytest.mark.parametrize(
    "options", [["--what"], ["--undo", "--status"], ["--boot"], ["--root"], ["--root", "/nowhere/at/all"]], ids=" ".join
)
def test_what_is_not_understood(options, apply, tmp_path):
    code, said, errors = apply(tmp_path, *options)
    assert (code, said) == (2, "")
    assert errors.startswith(("usage:", "apply.sh: --root: there is no such folder"))
