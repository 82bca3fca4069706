# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a boot leaves where systemd is not the init, on trees."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.kernel import FLAVOURS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.assignments import assignments
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.fold import predict
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.finder import owners
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import ASSIGNMENTS
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import planned
from ansible_collections.headroom.netfilter.tests.unit import examples, inits

MAX = "net.netfilter.nf_conntrack_max"
OWN = "/etc/sysctl.d/99-conntrack.conf"
LIMIT = {"/etc/sysctl.d/50-local.conf": MAX + " = 100000\n"}
NAMED = {"/etc/modules-load.d/local.conf": "nf_conntrack\n"}
# Of 4 GiB, by the kernel.
DEFAULT = (65536, "kernel default")
SET = (100000, "/etc/sysctl.d/50-local.conf:1")


@pytest.fixture
def told(tmp_path):
    """The facts of a tree that boots without systemd, whether or not that is installed."""

    def run(*trees, **changes):
        for tree in trees:
            for path, text in tree.items():
                target = tmp_path / path.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                if text.startswith("-> "):
                    target.symlink_to(text[3:])
                else:
                    target.write_text(text)
                    target.chmod(0o755)
        facts = examples.facts({"services.systemd_sysctl": None, **changes})
        host = Host(str(tmp_path))
        found = owners(host, FLAVOURS["nf_conntrack"], 1)[0]
        facts["assignments"] = ASSIGNMENTS(assignments(host, facts, found)[0])
        return facts

    return run


@pytest.fixture
def limit(told):
    def run(*trees, **changes):
        found = predict(told(*trees, **changes)).boot[MAX]
        return found.value, found.source

    return run


@pytest.mark.parametrize(
    ("init", "boot"),
    [
        pytest.param(inits.GENTOO, SET, id="OpenRC"),
        pytest.param(inits.ALPINE, SET, id="Alpine"),
        pytest.param(inits.VOID, SET, id="Void"),
        pytest.param(inits.ARTIX, SET, id="Artix"),
        pytest.param(inits.DEVUAN, SET, id="Devuan, one after the other"),
        pytest.param(
            {**inits.DEVUAN, **inits.STARTPAR},
            (None, "/etc/modules-load.d/local.conf may load the module before settings are applied"),
            id="Devuan, side by side",
        ),
        pytest.param(
            {**inits.DEVUAN, **inits.STARTPAR, "/proc/cmdline": "quiet concurrency=none\n"},
            SET,
            id="as the kernel is told",
        ),
        pytest.param(
            {**inits.DEVUAN, **inits.STARTPAR, "/etc/init.d/.depend.boot": "kmod: checkroot.sh\nprocps: udev kmod\n"},
            SET,
            id="Devuan, with an override",
        ),
        pytest.param(inits.BUILDROOT, DEFAULT, id="Buildroot has settings first"),
        pytest.param(
            inits.UNKNOWN,
            (None, "when s6-linux-init loads modules and applies sysctl.d is not known"),
            id="an init nobody knows",
        ),
        pytest.param(
            {"/sbin/init": "", "/proc/1/comm": "dinit\n"},
            (None, "when dinit loads modules and applies sysctl.d is not known"),
            id="known by its process",
        ),
        pytest.param(
            {**inits.VOID, "/etc/runit/core-services/08-sysctl.sh": 'sysctl -p "$(newest)"\n'},
            (None, "/etc/runit/core-services/08-sysctl.sh: what it applies with sysctl is not understood"),
            id="a script nobody understands",
        ),
    ],
)
def test_the_limit_after_a_boot(limit, init, boot):
    assert limit(init, LIMIT, NAMED) == boot


@pytest.mark.parametrize(
    ("services", "first"),
    [
        pytest.param({**inits.CLOCK, **inits.SYSCTL, **inits.MODULES}, True, id="by the clock"),
        pytest.param({**inits.SYSCTL, **inits.MODULES}, None, id="by nothing"),
        pytest.param({**inits.CLOCK, **inits.SYSCTL}, False, id="not enabled, nor there to be wanted"),
        pytest.param(
            {"sysctl": inits.depend(inits.SYSCTL_SYSTEM, "need modules"), **inits.MODULES},
            True,
            id="by the service itself",
        ),
        pytest.param(
            {**inits.SYSCTL, "modules": inits.depend(inits.MODULES_OPENRC, "after sysctl")},
            False,
            id="the other way round",
        ),
        pytest.param(
            {**inits.SYSCTL, "modules": inits.depend(inits.MODULES_OPENRC, "if yesno $x; then", "before sysctl", "fi")},
            None,
            id="under a condition",
        ),
        pytest.param(
            {**inits.SYSCTL, "modules": inits.depend(inits.MODULES_OPENRC, "# before sysctl")}, None, id="in a comment"
        ),
    ],
)
def test_openrc_has_an_order_where_services_say_so(told, services, first):
    assert told(inits.openrc(services))["assignments"]["init"]["first"] is first


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/conf.d/sysctl", 'rc_after="modules"\n'),
        ("/etc/conf.d/modules", "rc_before=sysctl\n"),
        ("/etc/rc.conf", 'rc_sysctl_need="modules"\n'),
    ],
)
def test_openrc_s_configuration_makes_an_order(told, path, text):
    host = inits.openrc({**inits.SYSCTL, **inits.MODULES})
    assert told(host, {path: text})["assignments"]["init"]["first"] is True


@pytest.mark.parametrize(
    ("boot", "default", "first"), [(inits.MODULES, inits.SYSCTL, True), (inits.SYSCTL, inits.MODULES, False)]
)
def test_a_runlevel_comes_after_another(told, boot, default, first):
    assert told(inits.openrc(boot, default=default))["assignments"]["init"]["first"] is first


def test_what_nothing_wants_is_not_started(told, limit):
    """The script is there, and in no runlevel."""
    host = inits.openrc(inits.SYSCTL)
    assert limit(host, LIMIT, NAMED, {"/etc/init.d/modules": inits.MODULES["modules"]}) == DEFAULT
    host = inits.openrc({**inits.CLOCK, **inits.MODULES})
    facts = told(host, {"/etc/init.d/sysctl": "", "/etc/runlevels/boot/sysctl": "-> /etc/init.d/none"})
    assert (
        facts["assignments"]["init"]["why"]
        == "OpenRC runs nothing here that applies sysctl.d: rc-update add sysctl boot"
    )


@pytest.mark.parametrize(
    ("init", "files", "boot"),
    [
        (inits.ALPINE, {"/etc/sysctl.conf": MAX + "=6\n"}, 6),
        (inits.ALPINE, {"/run/sysctl.d/00.conf": MAX + "=7\n", "/etc/sysctl.conf": MAX + "=6\n"}, 7),
        (inits.ALPINE, {"/usr/lib/sysctl.d/99-z.conf": MAX + "=8\n"}, 100000),
        (inits.ALPINE, {"/usr/local/lib/sysctl.d/99-z.conf": MAX + "=8\n"}, 100000),
        (inits.ALPINE, {"/etc/sysctl.d/60-glob.conf": "net.netfilter.nf_conntrack_m*=9\n"}, 100000),
        (inits.GENTOO, {"/usr/lib/sysctl.d/99-z.conf": MAX + "=8\n"}, 8),
        (inits.VOID, {"/usr/lib/sysctl.d/99-z.conf": MAX + "=8\n"}, 8),
        (inits.VOID, {"/run/sysctl.d/50-local.conf": MAX + "=7\n"}, 7),
        (inits.VOID, {"/etc/sysctl.conf": MAX + "=6\n"}, 6),
        # Hidden by the role's own, once that is there.
        (inits.ALPINE, {"/usr/lib/sysctl.d/99-conntrack.conf": MAX + "=8\n", "/etc/sysctl.d/50-local.conf": ""}, 8),
        (
            inits.ALPINE,
            {"/usr/lib/sysctl.d/99-conntrack.conf": MAX + "=8\n", "/etc/sysctl.d/99-conntrack.conf": MAX + "=9\n"},
            9,
        ),
        # A call for each file: a pattern in a later one wins.
        (inits.VOID, {"/etc/sysctl.d/60-glob.conf": "net.netfilter.nf_conntrack_m*=9\n"}, 9),
        (inits.DEVUAN, {"/etc/sysctl.d/60-glob.conf": "net.netfilter.nf_conntrack_m*=9\n"}, 100000),
    ],
    ids=str,
)
def test_files_are_read_in_the_order_of_the_script(limit, init, files, boot):
    assert limit(init, LIMIT, NAMED, files)[0] == boot


@pytest.mark.parametrize(
    ("init", "path", "text", "boot"),
    [
        (inits.GENTOO, "/etc/modules-load.d/a.conf", "# x\nnf-conntrack extra\n", SET),
        (inits.GENTOO, "/etc/modules", "nf_conntrack\n", DEFAULT),
        (inits.GENTOO, "/etc/conf.d/modules", 'modules="dummy nf_conntrack"\n', SET),
        (inits.GENTOO, "/proc/cmdline", "modules_load=nf_conntrack\n", DEFAULT),
        (inits.ALPINE, "/etc/modules", "ipv6\nnf_conntrack # here\n", SET),
        (inits.DEVUAN, "/etc/modules", "nf_conntrack\n", SET),
        (inits.DEVUAN, "/lib/modules-load.d/a.conf", "nf_conntrack\n", DEFAULT),
        (inits.VOID, "/etc/modules", "nf_conntrack\n", DEFAULT),
        (inits.VOID, "/etc/modules-load.d/a.conf", "nf_conntrack extra\n", DEFAULT),
        (inits.VOID, "/proc/cmdline", "modules-load=nf_conntrack\n", SET),
        (
            inits.DEVUAN,
            "/etc/modules",
            "nf_conntrack hashsize=4096\n",
            (None, "not all of modules-load.d could be told"),
        ),
    ],
    ids=str,
)
def test_modules_are_named_where_the_script_looks(limit, init, path, text, boot):
    assert limit(init, LIMIT, {path: text}) == boot


@pytest.mark.parametrize(
    ("init", "boot"), [(inits.GENTOO, DEFAULT), (inits.VOID, DEFAULT), (inits.ALPINE, SET), (inits.DEVUAN, SET)]
)
def test_who_obeys_blacklist(limit, init, boot):
    assert limit(init, LIMIT, NAMED, {"/etc/modprobe.d/b.conf": "blacklist nf_conntrack\n"}) == boot


@pytest.mark.parametrize("order", ["iptables", "after sysctl"])
def test_a_firewall_may_load_the_module_before_settings_are_applied(limit, order):
    rules = {
        "fire": inits.depend(
            "start() {\n\tiptables-restore < /etc/rules\n}\n", order if "after" in order else "use net"
        )
    }
    boot = limit(inits.openrc({**inits.CLOCK, **inits.SYSCTL, **inits.MODULES, **rules}), LIMIT)
    may = (None, "/etc/init.d/fire may load the module before settings are applied")
    assert boot == (may if order == "iptables" else DEFAULT)


def test_rc_sysinit(limit):
    """What it runs in between comes before what it does afterwards; the network applies sysctl.conf once more."""
    script = {"/etc/sysconfig/modules/nf.modules": "#!/bin/sh\nexec /sbin/modprobe nf_conntrack\n"}
    assert limit(inits.RC_SYSINIT, LIMIT, script) == SET
    assert limit(inits.RC_SYSINIT, LIMIT, script, {"/etc/sysctl.conf": MAX + "=6\n"}) == (
        6,
        "init script: sysctl -e -p /etc/sysctl.conf >/dev/null 2>&1: /etc/sysctl.conf:1",
    )


def test_rc_sysinit_without_the_module(limit):
    assert limit(inits.RC_SYSINIT, LIMIT) == DEFAULT


def test_a_script_of_one_s_own(limit):
    """BusyBox without inittab runs rcS: what it does, it does from above to below."""
    conf = {"/etc/sysctl.conf": MAX + "=5000\n"}
    assert limit(inits.RC_S, conf) == (5000, "/etc/sysctl.conf:1")
    other = {"/etc/init.d/rcS": "sysctl -p\nmodprobe nf_conntrack\n"}
    assert limit(inits.RC_S, conf, other) == DEFAULT


def test_files_whose_names_find_does_not_hide(limit):
    files = {"/etc/sysctl.d/.local.conf": MAX + "=5000\n"}
    assert limit(inits.BUILDROOT, files, state="builtin") == (5000, "/etc/sysctl.d/.local.conf:1")


def test_files_in_no_certain_order(limit):
    files = {"/etc/sysctl.d/60-other.conf": MAX + "=5000\n"}
    boot = limit(inits.BUILDROOT, LIMIT, files, state="builtin")
    assert boot == (None, "the order of sysctl.d's files is not told here")
    assert limit(inits.BUILDROOT, LIMIT, {"/etc/sysctl.d/60-other.conf": ""}, state="builtin") == SET


@pytest.mark.parametrize(
    ("init", "boot"),
    [
        pytest.param(inits.GENTOO, SET, id="applied"),
        pytest.param(inits.openrc(inits.MODULES), DEFAULT, id="not applied"),
        pytest.param(
            inits.UNKNOWN, (None, "when s6-linux-init loads modules and applies sysctl.d is not known"), id="not known"
        ),
        pytest.param(
            {**inits.GENTOO, "/sbin/sysctl": "-> /bin/busybox"}, DEFAULT, id="by a sysctl that has no --system"
        ),
    ],
)
def test_a_kernel_that_has_it_built_in(limit, init, boot):
    assert limit(init, LIMIT, state="builtin") == boot


def test_systemd_that_is_installed_and_not_the_init(limit):
    helper = "/usr/lib/systemd/systemd-sysctl"
    tree = {helper: "", **inits.DEVUAN, **LIMIT, "/etc/modules": "nf_conntrack\n"}
    changes = {"services.systemd_sysctl": helper}
    # systemd reads no /etc/modules but by a link.
    assert limit(tree, **changes) == SET
    assert limit(tree, {"/sbin/init": "-> /lib/systemd/systemd"}, **changes) == DEFAULT


@pytest.mark.parametrize(
    ("init", "path", "at_boot"),
    [
        (inits.VOID, "/etc/rc.local", True),
        (inits.DEVUAN, "/etc/rc.local", True),
        (inits.GENTOO, "/etc/rc.local", False),
        (inits.GENTOO, "/etc/local.d/a.start", None),
        (
            {**inits.GENTOO, **inits.openrc({}, default={"local": "for f in /etc/local.d/*.start; do $f; done\n"})},
            "/etc/local.d/a.start",
            True,
        ),
        (inits.VOID, "/etc/runit/core-services/09-mine.sh", True),
        (inits.VOID, "/etc/runit/core-services/01-mine.sh", False),
        (inits.VOID, "/etc/runit/runsvdir/default/mine/run", True),
        (inits.DEVUAN, "/etc/rcS.d/S99mine", True),
        (inits.DEVUAN, "/etc/rcS.d/S01mine", False),
        (inits.BUILDROOT, "/etc/init.d/S99mine", True),
    ],
)
def test_who_sets_keys_at_a_boot(told, init, path, at_boot):
    facts = told(init, {path: f"#!/bin/sh\nsysctl -w {MAX}=4444\n"})
    found = [owner["keys"] for owner in facts["assignments"]["owners"] if owner["path"] == path]
    assert found == ([{MAX: 4444}] if at_boot else [])


@pytest.mark.parametrize(
    ("init", "said"),
    [
        pytest.param(inits.GENTOO, "", id="nothing"),
        pytest.param(inits.ALPINE, "", id="Alpine"),
        pytest.param(inits.VOID, "", id="Void"),
        pytest.param(
            inits.openrc({**inits.SYSCTL, **inits.MODULES}),
            'rc_after="modules" in /etc/conf.d/sysctl does',
            id="OpenRC",
        ),
        pytest.param(
            {**inits.DEVUAN, **inits.STARTPAR}, "in /etc/insserv/overrides/procps, and insserv procps, do", id="Devuan"
        ),
        pytest.param(inits.openrc(inits.SYSCTL), "rc-update add modules boot", id="no modules"),
        pytest.param(
            inits.RC_S, "/etc/init.d/rcS, which applies settings, does not read " + OWN, id="sysctl.conf alone"
        ),
        pytest.param(inits.BUILDROOT, "loads modules after /etc/init.d/S02sysctl has applied settings", id="Buildroot"),
        pytest.param(inits.RC_SYSINIT, "let a script load the module before /etc/rc.d/rc.sysinit", id="no folder"),
        pytest.param(inits.UNKNOWN, "when s6-linux-init loads modules", id="nobody knows"),
    ],
)
def test_what_is_planned_holds_at_a_boot_or_a_warning_says_what_to_do(told, init, said):
    plan = planned(told(init), Policy(max=200000))
    assert plan.refusals == []
    assert (plan.expected["boot"].get(MAX) == 200000) == (said == "")
    warned = [one for one in plan.warnings if one.startswith("boot: ")]
    assert len(warned) == bool(said)
    assert all(said in one for one in warned)
