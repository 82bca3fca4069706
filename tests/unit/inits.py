# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Trees of hosts that boot without systemd: the scripts of their inits, shortened to what loads modules and applies settings.

docs/owners.md says which real scripts they follow; tests/integration/test_inits_oracle.py runs those that Debian has.
"""

SYSCTL_SYSTEM = "start() {\n\tsysctl ${quiet} --system\n}\n"
# As Alpine's: packages' files, then /etc, then sysctl.conf, then /run, a name that stands in a later one left out.
SYSCTL_ALPINE = """start() {
\tfor f in /lib/sysctl.d/*.conf \\
\t\t/usr/lib/sysctl.d/*.conf; do
\t\tif [ -f /etc/sysctl.d/"${f##*/}" ]; then
\t\t\tcontinue
\t\tfi
\t\t[ -f "$f" ] && sysctl $quiet -p "$f"
\tdone
\tfor f in /etc/sysctl.d/*.conf; do
\t\tif [ -f /run/sysctl.d/"${f##*/}" ]; then
\t\t\tcontinue
\t\tfi
\t\t[ -f "$f" ] && sysctl $quiet -p "$f"
\tdone
\tsysctl $quiet -p /etc/sysctl.conf
\tfor f in /run/sysctl.d/*.conf; do
\t\tsysctl $quiet -p "$f"
\tdone
}
"""
MODULES_OPENRC = """find_modfiles() {
\tlocal dirs="/usr/lib/modules-load.d /run/modules-load.d /etc/modules-load.d"
\tfor x in $dirs; do
\t\t[ -d $x ] && echo $x/*
\tdone
}
start() {
\tfor file in $(find_modfiles); do
\t\twhile read m x; do
\t\t\tcase $m in
\t\t\t\t\\#*) continue ;;
\t\t\t\t*) modprobe --first-time --use-blacklist --verbose "$m"; rc=$? ;;
\t\t\tesac
\t\tdone < $file
\tdone
}
Linux_modules() {
\tlist=$modules
}
"""
MODULES_ALPINE = """start() {
\tfor f in /etc/modules /etc/modules-load.d/*.conf /usr/lib/modules-load.d/*.conf; do
\t\tsed 's/\\#.*//g' < "$f" | while read module args; do
\t\t\tmodprobe -q $module $args
\t\tdone
\tdone
}
"""
INITTAB = "::sysinit:/sbin/openrc sysinit\n::sysinit:/sbin/openrc boot\n::wait:/sbin/openrc default\n"


def depend(script, *lines):
    return "#!/sbin/openrc-run\ndepend() {\n" + "".join(f"\t{line}\n" for line in lines or (":",)) + "}\n" + script


def openrc(boot, **more):
    """Services of runlevel boot, by name their scripts; and of others."""
    tree = {"/etc/inittab": INITTAB, "/sbin/init": "-> /bin/busybox"}
    for level, services in {"boot": boot, **more}.items():
        for name, script in services.items():
            tree["/etc/init.d/" + name] = script
            tree[f"/etc/runlevels/{level}/{name}"] = "-> /etc/init.d/" + name
    return tree


IDLE = "start() {\n\t:\n}\n"
CLOCK = {"hwclock": depend(IDLE, "provide clock", "want modules", "if yesno $adjust; then", "\tuse root", "fi")}
SYSCTL = {"sysctl": depend(SYSCTL_SYSTEM, "after clock", "before bootmisc")}
MODULES = {"modules": depend(MODULES_OPENRC, "use isapnp", "provide modules-load")}
GENTOO = openrc({**CLOCK, **SYSCTL, **MODULES})
ALPINE = {
    **openrc(
        {
            "hwclock": depend(IDLE, "provide clock"),
            "modules": depend(MODULES_ALPINE, "before hwclock hwdrivers"),
            "sysctl": depend(SYSCTL_ALPINE, "after clock", "before bootmisc logger"),
        }
    ),
    "/sbin/sysctl": "-> /bin/busybox",
}
VOID = {
    "/sbin/init": "-> ../usr/bin/runit-init",
    "/etc/runit/1": "#!/bin/sh\n[ -r /etc/rc.conf ] && . /etc/rc.conf\nfor f in /etc/runit/core-services/*.sh; do\n"
    "\t[ -r $f ] && . $f\ndone\nmsg over\n",
    "/etc/runit/2": "#!/bin/sh\n[ -x /etc/rc.local ] && /etc/rc.local\nexec runsvdir -P /run/runit/runsvdir/current\n",
    "/etc/runit/core-services/02-kmods.sh": "[ ! -e /proc/modules ] && return 0\nmodules-load -v | tr '\\n' ' '\n",
    "/etc/runit/core-services/08-sysctl.sh": "mkdir -p /run/vsysctl.d\nfor i in /run/sysctl.d/*.conf \\\n"
    "\t/etc/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf; do\n"
    '\tif [ -e "$i" ] && [ ! -e "/run/vsysctl.d/${i##*/}" ]; then\n\t\tln -s "$i" "/run/vsysctl.d/${i##*/}"\n\tfi\ndone\n'
    'for i in /run/vsysctl.d/*.conf; do\n\tsysctl -p "$i"\ndone\nsysctl -p /etc/sysctl.conf\n',
}
ARTIX = {
    "/sbin/init": "-> runit-init",
    "/etc/runit/1": "#!/bin/sh\n/usr/bin/rc-sysinit\n",
    "/etc/rc/sysinit/32-modules": "",
    "/etc/rc/sysinit/90-sysctl": "",
    "/usr/lib/rc/sv.d/modules": "load_modules() {\n\t/usr/bin/modules-load\n}\n",
    "/usr/lib/rc/sv.d/sysctl": "sysctl --system || stat_die sysctl\n",
}
# Debian's and Devuan's.
KMOD = """modules_files() {
  local modules_load_dirs='/etc/modules-load.d /run/modules-load.d /usr/local/lib/modules-load.d /usr/lib/modules-load.d'
  echo /etc/modules
}
files=$(modules_files)
grep -h '^[^#]' /etc/modules-load.d/*.conf $files |
while read module args; do
  modprobe $module $args > /dev/null 2>&1 || true
done
"""
PROCPS = 'DAEMON=/sbin/sysctl\nQUIET_SYSCTL="-q"\ndo_start_cmd() {\n\t$DAEMON $QUIET_SYSCTL --system || STATUS=$?\n}\ndo_start_cmd\n'
DEVUAN = {
    "/sbin/init": "",
    "/etc/inittab": "id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\nl2:2:wait:/etc/init.d/rc 2\n",
    "/etc/init.d/rcS": "#! /bin/sh\nexec /etc/init.d/rc S\n",
    "/etc/init.d/rc": "CONCURRENCY=makefile\nstartpar -p 4 -M $1\n",
    "/etc/init.d/kmod": KMOD,
    "/etc/init.d/procps": PROCPS,
    "/etc/init.d/rc.local": "[ -x /etc/rc.local ] && /etc/rc.local\n",
    "/etc/rcS.d/S06kmod": "-> ../init.d/kmod",
    "/etc/rcS.d/S09procps": "-> ../init.d/procps",
    "/etc/rc2.d/S02rc.local": "-> ../init.d/rc.local",
}
# What insserv leaves of their headers.
STARTPAR = {
    "/etc/init.d/.depend.boot": "TARGETS = kmod procps\nkmod: checkroot.sh\nprocps: udev mountall.sh\n",
    "/etc/init.d/.depend.start": "TARGETS = rc.local\n",
    "/etc/init.d/.depend.stop": "TARGETS =\n",
}
BUILDROOT = {
    "/sbin/init": "-> ../bin/busybox",
    "/sbin/sysctl": "-> ../bin/busybox",
    "/etc/inittab": "::sysinit:/bin/mount -t proc proc /proc\n::sysinit:/etc/init.d/rcS\n",
    "/etc/init.d/rcS": 'for i in /etc/init.d/S??*; do\n\tcase "$i" in\n\t\t*)\n\t\t\t"$i" start\n\t\t\t;;\n\tesac\ndone\n',
    "/etc/init.d/S02sysctl": 'SYSCTL_SOURCES="/etc/sysctl.d/ /usr/lib/sysctl.d/ /etc/sysctl.conf"\n'
    "find $SYSCTL_SOURCES -maxdepth 1 -name '*.conf' | while read -r file; do\n"
    '\t/sbin/sysctl $SYSCTL_ARGS -p "$file"\ndone\n',
    "/etc/init.d/S11modules": 'MODULES_DIR="/etc/modules-load.d/"\nfor module_file in "${MODULES_DIR}"/*.conf; do\n'
    '\twhile read -r module args; do\n\t\tmodprobe -q "${module}" ${args} >/dev/null\n\tdone < "${module_file}"\ndone\n',
}
RC_S = {"/sbin/init": "-> ../bin/busybox", "/etc/init.d/rcS": "#!/bin/sh\nmount -a\nmodprobe nf_conntrack\nsysctl -p\n"}
# Of Enterprise Linux 6, whose init is Upstart.
RC_SYSINIT = {
    "/sbin/init": "",
    "/proc/1/comm": "init\n",
    "/etc/inittab": "id:3:initdefault:\n",
    "/etc/rc.d/rc.sysinit": "#!/bin/bash\n. /etc/init.d/functions\nfor file in /etc/sysconfig/modules/*.modules ; do\n"
    "  [ -x $file ] && $file\ndone\napply_sysctl\n",
    "/etc/init.d/functions": "apply_sysctl() {\n    sysctl -e -p /etc/sysctl.conf >/dev/null 2>&1\n"
    "    for file in /etc/sysctl.d/* ; do\n"
    '        test -f "$file" && sysctl -e -p "$file" >/dev/null 2>&1\n    done\n}\n',
    "/etc/rc.d/init.d/network": "case $1 in start)\n    sysctl -e -p /etc/sysctl.conf >/dev/null 2>&1\n;; esac\n",
    "/etc/rc.d/rc3.d/S10network": "-> ../init.d/network",
}
UNKNOWN = {"/sbin/init": "-> /usr/bin/s6-linux-init"}
