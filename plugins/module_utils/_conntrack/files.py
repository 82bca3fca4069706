# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that the role conntrack manages, and what it looks for in them."""

SYSCTL = "/etc/sysctl.d/99-conntrack.conf"
MODPROBE = "/etc/modprobe.d/nf_conntrack.conf"
MODULES_LOAD = "/etc/modules-load.d/nf_conntrack.conf"
UDEV = "/etc/udev/rules.d/90-conntrack.rules"
# By which conntrack_unload keeps the module out. Of several install lines kmod takes the first, and files by their names.
UNLOAD = "/etc/modprobe.d/00-headroom-unload.conf"
MANAGED = (SYSCTL, MODPROBE, MODULES_LOAD, UDEV)
# By which a boot sizes the table by the machine's own memory: what reckons, the unit that runs it, and what starts that.
SIZER = "/etc/headroom/conntrack-size"
UNIT = "/etc/systemd/system/headroom-conntrack.service"
STARTS = "/etc/systemd/system/sysinit.target.d/headroom-conntrack.conf"
BOOT = (SIZER, UNIT, STARTS)

MODE = "0644"
OWNER = "root"
GROUP = "root"

# Stands in the head of every file this collection writes; a file without it is somebody else's.
MARK = "headroom.netfilter"

FIREWALLD = "/etc/firewalld/firewalld.conf"
IPTABLES = "/etc/sysconfig/iptables-config"
CONNTRACKD = "/etc/conntrackd/conntrackd.conf"
