# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Processes and files of a user who means it ill, real ones: they are told of, move no number and hold nothing up."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, until

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings import risks
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import policy
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.plan import Plan
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import planned

# No ansible-core takes part in it.
pytestmark = pytest.mark.on_one_core

USER = 65534
NOBODY = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
MAX, UDP = (f"net.netfilter.nf_conntrack_{key}" for key in ("max", "udp_timeout"))
TEMPLATE = '--conntrack-udp-timeout={{lookup("pipe","id")}}'
CLAIM = ("--conntrack-max=100000000", "--conntrack-udp-timeout=1s")
GATHER = textwrap.dedent(
    """
    import json, sys
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

    print(json.dumps(gather(Host(budget=float(sys.argv[1])), ["all"])))
    """
)
Gather = Callable[..., dict[str, Any]]
Start = Callable[..., int]


@pytest.fixture
def gather(request: pytest.FixtureRequest) -> Gather:
    """The facts, on the Python that runs modules; with folders in place of others, by path, seen by nobody else. There is time
    for all of it, unless a budget says otherwise."""

    def gather_(budget: float = PATIENCE, **placed: Path) -> dict[str, Any]:
        mounts = [f"mount --bind {there} {where}" for where, there in placed.items()]
        shell = " && ".join([*mounts, 'exec "$@"'])
        command = [request.config.getoption("--target-python"), "-c", GATHER, str(budget)]
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", shell, "sh", *command],
            env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    return gather_


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A process that is called kube-proxy, as far as a user can: by the name of its program. Its number."""
    started: list[subprocess.Popen[str]] = []
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)

    def start_(
        *arguments: str, before: tuple[str, ...] = (), name: str = "kube-proxy", does: str = "", program: str = ""
    ) -> int:
        link = tmp_path / name
        if not link.is_symlink():
            link.symlink_to(program or "/usr/bin/python3")
        said = f"import os, sys, time; {does or 'pass'}; print('ready', flush=True); sys.stdin.read()"
        command = [*before, str(link), "-c", said, *arguments]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == "ready\n"
        return started[-1].pid

    yield start_
    for process in started:
        process.communicate()


@pytest.fixture
def user_folder(tmp_path: Path) -> Path:
    """A folder in which everybody may write."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def made(facts: dict[str, Any], **asked: Any) -> Plan:
    return planned(facts, policy.read({f"conntrack_{name}": value for name, value in asked.items()}))


def numbers(facts: dict[str, Any]) -> tuple[Any, ...]:
    """What is planned and predicted, but for what moves by itself."""
    found = made(facts)
    return found.max, found.buckets, found.timeouts, found.refusals, facts["outcome"]["boot"]


def ids(facts: dict[str, Any]) -> dict[str, str]:
    return {finding.id: finding.severity for finding in risks.findings(facts)}


NOT_ROOTS = {
    "another user": (NOBODY, "it is not root's"),
    "root of a user namespace of one's own": ((*NOBODY, "unshare", "--user", "--map-root-user"), "it is not root's"),
    "root without a capability": (
        ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"),
        "it lacks CAP_NET_ADMIN",
    ),
    "root in another user namespace": (("unshare", "--user", "--map-root-user"), "it is in another user namespace"),
}


@pytest.mark.parametrize("kind", NOT_ROOTS)
def test_who_only_calls_itself_kube_proxy_decides_nothing(gather: Gather, start: Start, kind: str) -> None:
    before, why = NOT_ROOTS[kind]
    quiet = gather()
    pid = start(*CLAIM, TEMPLATE, before=before)
    facts = gather()
    (claim,) = [claim for claim in facts["claims"] if f"process {pid}:" in claim["what"]]
    assert claim["why"] == why
    assert facts["owners"] == quiet["owners"]
    assert numbers(facts) == numbers(quiet)
    assert TEMPLATE not in json.dumps(facts)
    assert ids(facts)["claim-ignored"] == "info"


def test_a_set_user_id_program_speaks_for_who_runs_it(gather: Gather, start: Start, tmp_path: Path) -> None:
    """As sudo while it asks for a password: wholly root's, under a name and with arguments of its caller."""
    program = tmp_path / "program"
    program.write_bytes(Path("/usr/bin/python3").resolve().read_bytes())
    program.chmod(0o4755)
    pid = start(*CLAIM, before=NOBODY, does="os.setresgid(0, 0, 0), os.setresuid(0, 0, 0)", program=str(program))
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Uid:\t0\t0\t0\t0\n" in status
    facts = gather()
    (claim,) = [claim for claim in facts["claims"] if f"process {pid}:" in claim["what"]]
    assert "set-user-id" in claim["why"]
    assert [owner for owner in facts["owners"] if owner["name"] == "kube-proxy"] == []


def test_a_genuine_kube_proxy_is_believed_within_bounds(gather: Gather, start: Start) -> None:
    start("--conntrack-max=100000000", "--conntrack-udp-timeout=40s")
    facts = gather()
    (owner,) = [owner for owner in facts["owners"] if owner["name"] == "kube-proxy"]
    assert (owner["keys"][MAX], owner["keys"][UDP]) == (100000000, 40)
    assert any("conntrack_max_ceiling" in refusal for refusal in made(facts).refusals)
    assert any("udp: 30 asked for, but process" in refusal for refusal in made(facts, timeouts={"udp": 30}).refusals)


@pytest.mark.parametrize(("mode", "value"), [(0o644, 300000), (0o666, None)])
def test_a_configuration_is_believed_where_it_is_root_s(
    gather: Gather, start: Start, mode: int, value: int | None
) -> None:
    where = Path(f"/etc/headroom-test-{os.getpid()}")
    where.mkdir(mode=0o755)
    try:
        config = where / "config.conf"
        config.write_text("conntrack:\n  max: 300000\n")
        config.chmod(mode)
        (where / "link.conf").symlink_to("config.conf")
        start(f"--config={where}/link.conf")
        facts = gather()
    finally:
        for path in where.iterdir():
            path.unlink()
        where.rmdir()
    (owner,) = [owner for owner in facts["owners"] if owner["name"] == "kube-proxy"]
    assert owner["keys"][MAX] == value
    assert ("everybody may write" in owner["evidence"]) is (value is None)


def of_others(folder: Path, kind: str) -> tuple[Path, str]:
    """A file of sysctl.d that others than root may write, and why."""
    folder.chmod(0o755)
    path = folder / "99-zz.conf"
    if kind == "link":
        # Root has laid it, into a folder of a user's own.
        theirs = folder.parent / "theirs"
        theirs.mkdir()
        os.chown(theirs, USER, USER)
        (theirs / "app.conf").write_text(f"{MAX} = 1000\n")
        path.symlink_to(theirs / "app.conf")
        return path, f"{theirs} belongs to user {USER}"
    path.write_text(f"{MAX} = 1000\n")
    if kind == "owner":
        os.chown(path, USER, USER)
        return path, f"/etc/sysctl.d/99-zz.conf belongs to user {USER}"
    path.chmod(0o666)
    return path, "everybody may write /etc/sysctl.d/99-zz.conf"


@pytest.mark.parametrize("kind", ["owner", "mode", "link"])
def test_a_file_that_others_may_write_is_told_of_and_holds_nothing_up(
    gather: Gather, user_folder: Path, kind: str
) -> None:
    user_folder.chmod(0o755)
    quiet = gather(**{"/etc/sysctl.d": user_folder})
    _path, why = of_others(user_folder, kind)
    facts = gather(**{"/etc/sysctl.d": user_folder})
    # It is what will be, and nobody's word.
    assert facts["outcome"]["boot"][MAX]["value"] == 1000
    assert MAX in facts["outcome"]["exposed"]
    assert (facts["outcome"]["overriding"], quiet["outcome"]["overriding"]) == ([], [])
    ((told, said),) = [(one["path"], one["why"]) for one in facts["exposed"]]
    # The temporary folder of a link's target is below one that everybody may write: named is the first.
    assert told == "/etc/sysctl.d/99-zz.conf"
    assert said == why or (kind == "link" and said == "everybody may write /tmp")
    assert ids(facts)["writable-by-others"] == "critical"
    found = made(facts)
    assert (found.max, found.refusals) == (made(quiet).max, [])
    assert made(facts, takeover=True).drift == found.drift
    assert any("/etc/sysctl.d/99-zz.conf" in warning for warning in found.warnings)


def test_where_everybody_may_write_root_does_not(gather: Gather, user_folder: Path) -> None:
    (refusal,) = made(gather(**{"/etc/sysctl.d": user_folder})).refusals
    assert "everybody may write /etc/sysctl.d, so that root cannot write there safely" in refusal


def test_what_a_user_adds_pushes_nothing_of_root_s_out_of_sight(gather: Gather, user_folder: Path) -> None:
    """Lists are cut for display: what is root's comes first, and what is not has gone before."""
    user_folder.chmod(0o755)
    script = user_folder / "zz-app"
    script.write_text("#!/bin/sh\n" + f"sysctl -w {MAX}=1000\n" * 60)
    script.chmod(0o777)
    roots = user_folder / "00-root"
    roots.write_text(f"#!/bin/sh\nsysctl -w {MAX}=2000\n")
    roots.chmod(0o755)
    empty = user_folder.parent / "empty"
    empty.mkdir()
    facts = gather(**{"/etc/cron.daily": user_folder, "/etc/sysctl.d": empty})
    # Of the role's own files there is none.
    assert facts["outcome"]["overriding"] == []
    assert facts["owners"][0]["path"] == "/etc/cron.daily/00-root"
    assert facts["left_out"] == {"owners": 11}
    assert any("/etc/cron.daily/00-root:2" in refusal for refusal in made(facts).refusals)


def test_what_cron_refuses_is_no_evidence(gather: Gather, user_folder: Path) -> None:
    user_folder.chmod(0o755)
    line = f"* * * * * root sysctl -w {MAX}=1000\n"
    for name, owner, mode in (("mine", USER, 0o644), ("open", 0, 0o666), ("roots", 0, 0o644)):
        (user_folder / name).write_text(line)
        (user_folder / name).chmod(mode)
        os.chown(user_folder / name, owner, owner)
    facts = gather(**{"/etc/cron.d": user_folder})
    assert [owner["path"] for owner in facts["owners"] if owner["name"] == "cron"] == ["/etc/cron.d/roots"]
    claims = {claim["what"]: claim["whose"] for claim in facts["claims"] if "/etc/cron.d" in claim["what"]}
    assert claims == {"/etc/cron.d/mine": "user 65534, mode 0644", "/etc/cron.d/open": "user 0, mode 0666"}


def test_neither_a_lease_nor_a_fifo_nor_a_device_is_waited_for(gather: Gather, start: Start, user_folder: Path) -> None:
    leased = user_folder / "10-leased.conf"
    leased.write_text(f"{MAX} = 1000\n")
    os.chown(leased, USER, USER)
    os.mkfifo(user_folder / "20-fifo.conf")
    (user_folder / "30-device.conf").symlink_to("/dev/zero")
    (user_folder / "40-terminal.conf").symlink_to("/dev/tty")
    take = f"import fcntl, signal; signal.signal(signal.SIGIO, signal.SIG_IGN); fcntl.fcntl(os.open({str(leased)!r}, os.O_RDWR), 1024, 1)"
    start(before=NOBODY, name="holder", does=take)
    facts = gather(**{"/etc/sysctl.d": user_folder})
    # Whoever waits until the lease is broken, 45 seconds, then reads it.
    assert "/etc/sysctl.d/10-leased.conf" in facts["unreadable"]
    assert facts["outcome"]["overriding"] == []


def test_a_name_that_is_turned_round_while_it_is_read_leads_nowhere(tmp_path: Path, start: Start) -> None:
    """Between the question what it is and the opening: a FIFO would then be waited for, for ever."""
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

    (tmp_path / "file").write_text("text")
    os.mkfifo(tmp_path / "fifo")
    flips = f"""
import os, threading
def flip():
    while True:
        for to in ("file", "fifo"):
            os.symlink(to, {str(tmp_path)!r} + "/new"); os.rename({str(tmp_path)!r} + "/new", {str(tmp_path)!r} + "/name")
threading.Thread(target=flip, daemon=True).start()
"""
    start(name="flipper", does=f"exec({flips!r}); time.sleep(0.2)")
    host = Host()
    found: Counter[str | None] = Counter()

    def look() -> bool:
        found.update(host.read(f"{tmp_path}/name") for _time in range(5000))
        return len(found) > 1

    until(look)
    assert set(found) == {"text", None}


def test_many_processes_with_long_arguments_make_no_long_facts(gather: Gather, start: Start) -> None:
    for _number in range(60):
        start("--conntrack-max=" + "1" * 100000, before=NOBODY)
    facts = gather()
    assert len(facts["claims"]) == 50
    assert facts["left_out"]["claims"] >= 10
    assert len(json.dumps(facts)) < 100000


def test_what_there_is_no_time_for_is_untold_and_root_s_is_read_all_the_same(gather: Gather, start: Start) -> None:
    pid = start("--conntrack-max=300000")
    start(before=NOBODY, name="others")
    facts = gather(budget=0)
    assert [owner["evidence"].partition(": ")[0] for owner in facts["owners"]] == [f"process {pid}"]
    assert all("processes of others than root" in said for said in facts["untold"])
    assert len(facts["untold"]) == 2
    assert ids(facts)["untold"] == "info"
    assert made(facts).max is not None
