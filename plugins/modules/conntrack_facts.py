#!/usr/bin/python
# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: conntrack_facts
short_description: Facts about a host's connection tracking
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Reads what the kernel's connection tracking table is and does on a host, what is persisted for it, what it will be after the
    next boot and the next load of the module, and who else writes it.
  - Reads files, of logs their ends, and the kernel's ring buffer; loads no module and changes nothing.
  - Runs one command, C(journalctl), and that only for V(log), on a host with systemd whose own network namespace has counted
    packets as dropped, when neither ring buffer nor text logs have a message of a full table.
  - Works with nf_conntrack and the older ip_conntrack, loaded, built in, loadable or absent, on hosts and in containers.
  - Without root it returns what it can read and lists the rest in RV(ansible_facts.conntrack.unreadable).
options:
  gather_subset:
    description:
      - What to read besides state, flavour, kernel, memory and cpus, which are always returned.
      - V(table) adds the table with its timeouts, switches and counters. V(persistence) adds services, files, timeouts, switches,
        assignments and outcome.
      - V(owners) adds who else writes the same keys, V(namespaces) the network namespaces, V(log) messages of a full table.
      - V(all) is everything, V(min) nothing more. A V(!) before a name leaves it out.
    type: list
    elements: str
    default: [all]
  budget_seconds:
    description:
      - How long reading what is not root's may take in all, processes of other users and their network namespaces, seconds from 0 to 3600.
      - What is left out for it is in RV(ansible_facts.conntrack.untold). Root's own files and processes are read first, and all of them.
    type: float
    default: 10
  root:
    description:
      - A folder to read instead of the machine, from C(/) on, such as the tree of an image, a chroot or a backup, or a sosreport, which is
        known by its folder C(sos_commands).
      - All is read from there, nothing is run, and nothing of the machine that reads it is mixed in; links lead nowhere out of it.
      - What cannot be known from it is in RV(ansible_facts.conntrack.untold). Whoever names it vouches for all that is in it.
    type: path
    default: /
    version_added: 0.2.0
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
  - headroom.netfilter.guarded
  - ansible.builtin.action_common_attributes.facts
attributes:
  check_mode:
    support: full
    details: Reads the same in check mode.
  diff_mode:
    support: none
    details: Changes nothing.
  facts:
    support: full
seealso:
  - module: headroom.netfilter.conntrack_settings
  - plugin: headroom.netfilter.conntrack_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the connection tracking facts
  headroom.netfilter.conntrack_facts:

- name: Say how full the table is
  ansible.builtin.debug:
    msg: "{{ ansible_facts.conntrack.table.count }} of {{ ansible_facts.conntrack.table.max }} entries"

- name: Read a sosreport that lies on the controller
  headroom.netfilter.conntrack_facts:
    root: /srv/sosreports/sosreport-web01
  delegate_to: localhost

- name: Read the table alone
  headroom.netfilter.conntrack_facts:
    gather_subset: [table]
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to ansible_facts.
  returned: always
  type: dict
  contains:
    conntrack:
      description: Facts about connection tracking.
      returned: always
      type: dict
      contains:
        state:
          description: V(loaded) as a module, V(builtin), V(loadable) (a module that is not loaded), or V(absent).
          type: str
          returned: always
          sample: loaded
        flavour:
          description: The names this kernel goes by, V(nf_conntrack) or V(ip_conntrack) (before 2.6.22).
          type: str
          returned: always
          sample: nf_conntrack
        kernel:
          description: What decides how the kernel sizes and rounds, and what can be written from here.
          type: dict
          returned: always
          contains:
            release:
              description: The kernel's release.
              type: str
              returned: always
              sample: 6.1.0-37-cloud-amd64
            hz:
              description:
                - Ticks a second of the kernel, C(CONFIG_HZ), by which it depends how long a timeout may be (2147483647 ticks).
                - Of a tree as the kernel's configuration has it. V(none) where neither a clock nor a file tells.
              type: int
              returned: always
              sample: 250
            page_size:
              description: Bytes in a page of memory.
              type: int
              returned: always
              sample: 4096
            pointer_bytes:
              description: Bytes in a pointer of the kernel.
              type: int
              returned: always
              sample: 8
            init_netns:
              description: Whether this is the first network namespace, the only one that may write the limit, the buckets and C(expect_max).
              type: bool
              returned: always
            container:
              description: The kind of container, V(none) on a host.
              type: str
              returned: always
              sample: docker
            python:
              description: Version of the Python that runs the module; V(none) for a tree.
              type: str
              returned: always
              sample: 3.11.2
            root:
              description: Whether the module runs as root.
              type: bool
              returned: always
            nat:
              description:
                - Whether the host forwards, and a module that masquerades or rewrites sources is loaded.
                - On kernels that have these built in it is not seen, and V(false).
              type: bool
              returned: always
            writable:
              description: What can be written live from here.
              type: dict
              returned: always
              contains:
                max:
                  description: The limit, and C(expect_max) with it.
                  type: bool
                  returned: always
                buckets:
                  description: The buckets.
                  type: bool
                  returned: always
                timeouts:
                  description: The timeouts.
                  type: bool
                  returned: always
        memory:
          description: Memory.
          type: dict
          returned: always
          contains:
            total_bytes:
              description: Bytes of it, less what the kernel keeps.
              type: int
              returned: always
              sample: 2062680064
            available_bytes:
              description: Bytes that new programs may have. V(none) on kernels before 3.14.
              type: int
              returned: always
              sample: 1753997312
        cpus:
          description: Processors online.
          type: int
          returned: always
          sample: 2
        history:
          description: What this collection has changed on the host, as it is kept there; root alone can read it.
          type: dict
          returned: always
          contains:
            last:
              description: The last change, as in RV(ansible_facts.conntrack.history.changes).
              type: dict
              returned: always
              sample: {id: 20261125T101500Z-0a1b2c, state: kept, when: "2026-11-25T10:15:00Z", who: "ann@control, play Tune"}
            unfinished:
              description: The last change that is not over though nobody works at it; the next one undoes it first.
              type: str
              returned: always
              sample: 20261125T101500Z-0a1b2c
            changes:
              description: The last changes and the first of all, the first of them first.
              type: list
              elements: dict
              returned: always
              contains:
                id:
                  description: By what M(headroom.netfilter.conntrack_rollback) knows it.
                  type: str
                  returned: always
                  sample: 20261125T101500Z-0a1b2c
                state:
                  description: C(running), C(unfinished), C(unconfirmed), C(kept), or C(undone), also where a later change has taken it back.
                  type: str
                  returned: always
                  sample: kept
                when:
                  description: When it began, ISO 8601, UTC. V(none) where what is kept of it cannot be read.
                  type: str
                  returned: always
                  sample: "2026-11-25T10:15:00Z"
                who:
                  description: Who asked for it.
                  type: str
                  returned: always
                  sample: "ann@control, play Tune"
            hold:
              description: Why the host is not to be changed, as C(/etc/headroom/netfilter.hold) says; V(none) where it may be.
              type: str
              returned: always
              sample: frozen until the audit is over
        table:
          description: The table. Values that this host does not have or does not show are V(none).
          type: dict
          returned: with subset C(table)
          contains:
            count:
              description: Entries in use, of this network namespace.
              type: int
              returned: always
              sample: 1811
            max:
              description: The limit, entries. Before kernel 6.19, 0 is no limit.
              type: int
              returned: always
              sample: 65536
            buckets:
              description: Buckets of the hash table.
              type: int
              returned: always
              sample: 65536
            expect_max:
              description:
                - The most expectations at once, connections that helpers for protocols such as FTP and SIP await.
                - V(none) where this kernel has no C(expect_max).
              type: int
              returned: always
              sample: 1024
            usage:
              description: Share of the limit in use, 0 to 1.
              type: float
              returned: always
              sample: 0.027634
            chain:
              description: Average length of a bucket's chain, 2 x count / buckets; each entry stands in two chains.
              type: float
              returned: always
              sample: 0.0553
            entry_bytes:
              description: Bytes to reckon for an entry, its slab object and a block of extensions (128).
              type: int
              returned: always
              sample: 384
            full_bytes:
              description: Bytes that the table takes with as many entries as its limit.
              type: int
              returned: always
              sample: 25690112
        timeouts:
          description:
            - Seconds by name, each timeout that this kernel has.
            - A name is that of the sysctl without its prefix and C(_timeout), as tcp_established or udp_stream.
          type: dict
          returned: with subset C(table) or C(persistence)
          sample: {tcp_established: 432000, udp: 30, udp_stream: 120}
        switches:
          description:
            - "Those of TCP by name, as far as this kernel has them: V(tcp_loose), whether connections are picked up that were not seen to
              begin, and V(tcp_be_liberal), whether what is out of the window is taken."
            - Of the own network namespace, as timeouts are. V(0) is no, anything else yes.
          type: dict
          returned: with subset C(table) or C(persistence)
          sample: {tcp_loose: 1, tcp_be_liberal: 0}
        counters:
          description:
            - The columns of C(/proc/net/stat/nf_conntrack), summed over the processors, by the names this kernel has.
            - Kernels without that file, as Ubuntu's, tell the same through ctnetlink, all but those of expectations. There are none where
              that may not be asked, or is a module, C(nf_conntrack_netlink), that is not loaded.
            - RV(ansible_facts.conntrack.counters.chain_too_long) is the column chainlength or chaintoolong (5.15 and later).
          type: dict
          returned: with subset C(table)
          sample: {found: 12, insert_failed: 0, drop: 0, early_drop: 0, chain_too_long: 0}
          contains:
            chain_too_long:
              description: Entries refused because their bucket's chain was too long.
              type: int
              returned: on kernels 5.15 and later
        unlisted:
          description:
            - Entries that are counted, and take room, but stand in no list of the table; see docs/findings.md, counted-not-listed.
            - Of one percent of the entries or more the lesser of two looks, a second apart, so that what is so for a moment is not told.
            - Of V(none) it is not known how many there are. All of it is V(none) where no more than half of the limit is in use.
          type: dict
          returned: with subset C(table)
          contains:
            entries:
              description: How many more are counted than listed; only looked for from 95 percent of the limit on.
              type: int
              returned: always
              sample: 31200
            dying:
              description: Those that have ended, and wait until the event of it is delivered.
              type: int
              returned: always
              sample: 31200
            unconfirmed:
              description: Those of packets that are still on their way; kernels before 5.19 have a list of them.
              type: int
              returned: always
              sample: 0
            listeners:
              description: Where some are dying, who has asked for the events of ends and lost some, the most first; three at most.
              type: list
              elements: str
              returned: always
              sample: ["conntrackd (812): 31200 events lost"]
        cloud:
          description:
            - What network cards tell of a cloud that tracks connections beside the kernel, each interface with such a card.
            - These are EC2's, of the driver ena, which counts for the security groups of the instance.
          type: list
          elements: dict
          returned: with subset C(table), where there is such a card
          contains:
            interface:
              description: Its name.
              type: str
              returned: always
              sample: ens5
            driver:
              description: Its driver, C(ena).
              type: str
              returned: always
              sample: ena
            exceeded:
              description: Packets dropped since the driver's start because the instance may track no more connections. V(none) where it does not tell.
              type: int
              returned: always
              sample: 0
            available:
              description: Connections that the instance may track besides those it does. V(none) where it does not tell, as before driver 2.8.1.
              type: int
              returned: always
              sample: 76957
        services:
          description: Firewall services, V(none) where one is not installed.
          type: dict
          returned: with subset C(persistence)
          contains:
            firewalld:
              description: firewalld.
              type: dict
              returned: always
              contains:
                version:
                  description: Its version, V(none) where that is not found.
                  type: str
                  returned: always
                  sample: 1.3.3
                active:
                  description: Whether it is active.
                  type: bool
                  returned: always
                cleanup_modules_on_exit:
                  description: CleanupModulesOnExit of its configuration, the first of several as it reads it, V(none) where that does not say.
                  type: str
                  returned: always
                  sample: "no"
                unloads:
                  description:
                    - Whether a restart of it unloads the module, by its configuration, or what it takes for granted where that does not say.
                    - Before 1.0 it always does with C(CleanupOnExit).
                  type: bool
                  returned: always
            iptables:
              description: iptables-services of Red Hat and its kin.
              type: dict
              returned: always
              contains:
                active:
                  description: Whether it is active.
                  type: bool
                  returned: always
                modules_unload:
                  description: IPTABLES_MODULES_UNLOAD of its configuration, the last of several, V(none) where that does not say.
                  type: str
                  returned: always
                  sample: "yes"
                unloads:
                  description:
                    - Whether a restart of it unloads the module, by its configuration, or its script where that does not say.
                    - The scripts of Enterprise Linux 8 and later never do.
                  type: bool
                  returned: always
                sysctl_load_list:
                  description: The words of IPTABLES_SYSCTL_LOAD_LIST.
                  type: list
                  elements: str
                  returned: always
                  sample: [".nf_conntrack"]
            nftables:
              description: nftables.service.
              type: dict
              returned: always
              contains:
                active:
                  description: Whether it is active.
                  type: bool
                  returned: always
            netfilter_persistent:
              description: netfilter-persistent of Debian and its kin.
              type: dict
              returned: always
              contains:
                active:
                  description: Whether it is active.
                  type: bool
                  returned: always
            ufw:
              description: ufw, active where its configuration enables it, too.
              type: dict
              returned: always
              contains:
                active:
                  description: Whether it is active.
                  type: bool
                  returned: always
            conntrackd:
              description: conntrackd, which keeps entries of its own; V(none) without its configuration.
              type: dict
              returned: always
              contains:
                active:
                  description: Whether it is active.
                  type: bool
                  returned: always
                sync:
                  description: Whether it keeps them for another node, rather than to count what passed.
                  type: bool
                  returned: always
                hash_size:
                  description: Buckets of its own table, C(HashSize), or what it takes without one.
                  type: int
                  returned: always
                  sample: 32768
                hash_limit:
                  description: Entries that it keeps at most, C(HashLimit), or what it takes without one.
                  type: int
                  returned: always
                  sample: 131072
            systemd_sysctl:
              description: The path of systemd's helper that applies sysctl.d, V(none) without systemd.
              type: str
              returned: always
              sample: /usr/lib/systemd/systemd-sysctl
        files:
          description:
            - The files that the role manages and that are there, by path.
            - Each has C(sha256) of its content, C(mode) of four octal digits, C(owner) and C(group), and C(ours), which is whether the
              file says that this collection wrote it.
          type: dict
          returned: with subset C(persistence)
          sample:
            /etc/modprobe.d/nf_conntrack.conf:
              sha256: 1a8d5d8e2f2b2c5c3bb1c7b8d1b4a6b0d3a6d9a0c4f3c6b1e9b4f7a2d5c8e1f4
              mode: "0644"
              owner: root
              group: root
              ours: true
        assignments:
          description:
            - All that decides what will be, as it was read, in the order in which it is applied. The plan and the host itself foresee
              boots and loads of the module from it by one rule.
            - Of each part, and of the lines in all files of sysctl.d, there are 200 at most. Texts are whole, and as the host has them.
          type: dict
          returned: with subset C(persistence)
          contains:
            sysctl:
              description:
                - The files of sysctl.d that are about connection tracking, C(path) as found there and C(file) where it leads to.
                - C(lines) are those that reach a key, with their number, dotted C(key) or glob, C(value) and, of others' files, C(text).
                - A C(value) of V(none) keeps globs away from the key. C(/etc/sysctl.conf), which procps alone reads, is the last.
              type: list
              elements: dict
              returned: always
              sample:
                - path: /etc/sysctl.d/99-sysctl.conf
                  file: /etc/sysctl.conf
                  lines:
                    - {line: 68, key: net.netfilter.nf_conntrack_max, value: "131072", text: net.netfilter.nf_conntrack_max=131072}
            called:
              description: The same of files that a call of C(sysctl) at a load names for itself.
              type: list
              elements: dict
              returned: always
              sample:
                - path: /etc/sysctl.conf
                  file: /etc/sysctl.conf
                  lines: []
            aliases:
              description: Other names of these keys that the kernel has.
              type: list
              elements: str
              returned: always
              sample: [net.nf_conntrack_max]
            modprobe:
              description: The lines of modprobe.d that concern the module, as kmod takes them; C(command) is empty where it ignores them.
              type: list
              elements: dict
              returned: always
              sample:
                - path: /etc/modprobe.d/nf_conntrack.conf
                  line: 4
                  command: options
                  name: nf_conntrack
                  rest: hashsize=65536
                  text: ""
            command_line:
              description: Words of the kernel's command line that are about connection tracking or modules.
              type: list
              elements: str
              returned: always
              sample: [nf_conntrack.hashsize=65536]
            parameters:
              description: Parameters that lines give the module, which not every kernel's has, and this one's does.
              type: list
              elements: str
              returned: always
              sample: [ip_conntrack_disable_ve0]
            early:
              description:
                - What has the module, or one that brings it, loaded before sysctl.d is applied. Lines, and words of the kernel's command line.
                - C(module) is what is loaded, whose name may stand there as an alias, and C(brings) the module.
                - Where that is V(false) this kernel has none of the name, though others do.
              type: list
              elements: dict
              returned: always
              sample: [{path: /etc/modules-load.d/nf_conntrack.conf, line: 3, module: nf_conntrack, brings: true}]
            udev:
              description: What udev's rules have run when the module is loaded, and whether it is there.
              type: list
              elements: dict
              returned: always
              sample:
                - path: /etc/udev/rules.d/90-conntrack.rules
                  line: 3
                  resets: false
                  call: {command: /usr/lib/systemd/systemd-sysctl, prefixes: [/net/netfilter], pattern: null, files: []}
                  runs: true
            owners:
              description:
                - Who sets these keys at each boot after sysctl.d, as in RV(ansible_facts.conntrack.owners), in their order.
                - What C(yields) applies sysctl.d again after itself, and so does not set a key that is there.
                - Where C(call) is not V(none), it is files of settings that are applied again, and their lines decide.
              type: list
              elements: dict
              returned: always
              sample:
                - name: ufw
                  keys: {net.netfilter.nf_conntrack_max: 77000}
                  evidence: "/etc/ufw/sysctl.conf:71: net/netfilter/nf_conntrack_max=77000"
                  path: /etc/ufw/sysctl.conf
                  line: 71
                  text: net/netfilter/nf_conntrack_max=77000
                  remedy: change or remove the line in /etc/ufw/sysctl.conf
                  yields: false
                  call:
            unloading:
              description: Of each firewall's configuration the line that says whether its restart unloads the module. C(line) is 0 where
                none does, and one at its end would.
              type: list
              elements: dict
              returned: always
              sample: [{path: /etc/firewalld/firewalld.conf, line: 22, text: CleanupModulesOnExit=no}]
            ramdisk:
              description:
                - The initial RAM disk of the running kernel, where it loads the module. It does so with copies of its own of modprobe.d.
                - What it has is known from the files that it is made of while none of them is newer. Else it is opened, and one that this
                  Python cannot unpack is judged by its age.
              type: dict
              returned: when it loads the module
              sample:
                path: /boot/initrd.img-6.1.0-37-amd64
                renew: update-initramfs -u -k 6.1.0-37-amd64
                copies: [/etc/, /usr/lib/, /lib/]
                options: []
                modprobe: null
                sysctl: []
                told: true
                older: []
            sized:
              description:
                - The unit that sizes limit, buckets and expectations by the machine's memory at a boot, with C(conntrack_size_at_boot), and
                  whether it does so C(at_load) of the module as well.
                - C(asked) is what its script was made with, by the names there; nothing where it is another's.
              type: dict
              returned: when it is there
              sample:
                path: /etc/systemd/system/headroom-conntrack.service
                asked: {MAX: 0, SHARE: 1, SHARE_OF: 50}
                at_load: true
            nobodys:
              description: Those of these files that others than root may write.
              type: list
              elements: str
              returned: always
            init:
              description:
                - What another init than systemd does at a boot, by its own scripts. C(name) is its name, C(known) whether they are
                  understood, and C(why) what keeps the role's files from being all that a boot needs.
                - C(applied) are the files of settings that it applies, in their order, C(planned) the same with the role's own among
                  them; C(each) with a call for each, C(ordered) unless they come in no certain order, C(globs) unless those mean nothing.
                - C(first) says whether it loads what C(/etc/modules-load.d) names before that, with V(none) that it may, C(obeys) that it
                  does not load what C(blacklist) names, and C(before) what else may have loaded the module by then.
              type: dict
              returned: where systemd is not the init
              sample:
                name: OpenRC
                known: true
                why: ""
                applied: [/etc/sysctl.conf]
                planned: [/etc/sysctl.d/99-conntrack.conf, /etc/sysctl.conf]
                each: false
                ordered: true
                globs: true
                obeys: true
                first: true
                before:
            untold:
              description: The parts of which not all is told. What follows from them is told by nobody.
              type: list
              elements: str
              returned: always
              sample: [sysctl]
        outcome:
          description: What will be, and the line that decides it. It follows from RV(ansible_facts.conntrack.assignments).
          type: dict
          returned: with subset C(persistence)
          contains:
            boot:
              description:
                - C(kind), C(value) and C(source) after the next boot, by dotted sysctl name or C(hashsize) (buckets, as the kernel
                  rounds them).
                - The kind is C(value) where a line or a program decides, C(default) where the kernel does. With C(fails), where the
                  module's load fails, C(untold), where it cannot be told, and C(absent) the value is V(none); the source says why.
              type: dict
              returned: always
              sample:
                hashsize: {kind: value, value: 65536, source: "/etc/modprobe.d/nf_conntrack.conf:4"}
                net.netfilter.nf_conntrack_max: {kind: value, value: 65536, source: "/etc/sysctl.d/99-conntrack.conf:6"}
            reload:
              description:
                - The same, C(kind), C(value) and C(source), after the next load of the module; empty where conntrack is built in.
              type: dict
              returned: always
              sample:
                hashsize: {kind: default, value: 8192, source: kernel default}
                net.netfilter.nf_conntrack_max: {kind: default, value: 8192, source: kernel default}
            overriding:
              description:
                - Lines of other files that win over the role's own and say something else. Where the role has never run there are none.
              type: list
              elements: dict
              returned: always
              contains:
                path:
                  description: The file.
                  type: str
                  returned: always
                  sample: /etc/sysctl.conf
                line:
                  description: The number of the line.
                  type: int
                  returned: always
                  sample: 68
                text:
                  description: The line.
                  type: str
                  returned: always
                  sample: net.netfilter.nf_conntrack_max = 131072
                key:
                  description: The dotted sysctl name that it sets, or C(hashsize).
                  type: str
                  returned: always
                  sample: net.netfilter.nf_conntrack_max
                value:
                  description: The value that it leaves, V(none) where that cannot be told, or the load fails of it.
                  type: int
                  returned: always
                  sample: 131072
                owner:
                  description: Who applies the file.
                  type: str
                  returned: always
                  sample: sysctl.d
            problems:
              description: What keeps lines from doing what they say.
              type: list
              elements: dict
              returned: always
              contains:
                kind:
                  description:
                    - C(load), the module cannot be loaded; C(useless), it comes to nothing; C(odd), the kernel takes it for another
                      value than it looks; C(builtin), the kernel has no use for it;
                      C(behind), the initial RAM disk has other files than there are.
                  type: str
                  returned: always
                  sample: load
                severity:
                  description: C(critical), C(warning) or C(info).
                  type: str
                  returned: always
                  sample: critical
                said:
                  description: What it is, in a sentence.
                  type: str
                  returned: always
                  sample: hashsize has no value, so that the load fails; write hashsize=N without blanks around =
                path:
                  description: The file, or C(kernel command line).
                  type: str
                  returned: always
                  sample: /etc/modprobe.d/local.conf
                line:
                  description: The number of the line, V(none) for the command line.
                  type: int
                  returned: always
                  sample: 1
            exposed:
              description: Keys whose value after a boot or a load is from a file that others than root may write. A plan passes it over.
              type: list
              elements: str
              returned: always
        exposed:
          description:
            - Files that are applied at a boot or a load though others than root may write them.
            - Folders of the role's own files, and configurations of firewalls, for which that is so, come first.
          type: list
          elements: dict
          returned: with subset C(persistence)
          contains:
            path:
              description: The file.
              type: str
              returned: always
              sample: /etc/sysctl.d/10-app.conf
            why:
              description: Who may write it.
              type: str
              returned: always
              sample: everybody may write /etc/sysctl.d/10-app.conf
        owners:
          description:
            - Who else sets keys of connection tracking here, a finding for each line of a file or process. docs/owners.md has the list.
            - C(name) is what it is, C(keys) what keys are set to by dotted sysctl name or C(hashsize), V(none) where that cannot be told.
            - C(evidence) is what was found, and where; C(at_boot) whether it writes after systemd-sysctl at each boot.
            - C(path), C(line) and C(text) are of the line that could be taken out, V(none) where it is none of a file.
            - C(remedy) is how to make it say what is wanted, or nothing.
          type: list
          elements: dict
          returned: with subset C(owners)
          sample:
            - name: ufw
              keys: {net.netfilter.nf_conntrack_max: 77000}
              evidence: "/etc/ufw/sysctl.conf:71: net/netfilter/nf_conntrack_max=77000"
              path: /etc/ufw/sysctl.conf
              line: 71
              text: net/netfilter/nf_conntrack_max=77000
              at_boot: true
              remedy: change or remove the line in /etc/ufw/sysctl.conf
        claims:
          description: What pretends to set keys of connection tracking and was passed over, because it is not root's doing.
          type: list
          elements: dict
          returned: with subset C(owners)
          contains:
            what:
              description: The process, or the file.
              type: str
              returned: always
              sample: "process 4711: kube-proxy"
            whose:
              description: Whose it is.
              type: str
              returned: always
              sample: user 65534
            why:
              description: Why it was passed over.
              type: str
              returned: always
              sample: it is not root's
        namespaces:
          description: The own network namespace, and up to 32 of the others that have entries or have dropped some, worst first.
          type: list
          elements: dict
          returned: with subset C(namespaces)
          contains:
            inode:
              description: The number of the namespace, 0 where the kernel gives none (before 3.8).
              type: int
              returned: always
              sample: 4026532280
            name:
              description: By C(ip netns), by its container or by its process.
              type: str
              returned: always
              sample: docker 0123456789ab
            own:
              description: Whether it is the one that these facts are of.
              type: bool
              returned: always
            count:
              description: Entries in use there.
              type: int
              returned: always
              sample: 65536
            max:
              description: The limit, which is the host's.
              type: int
              returned: always
              sample: 65536
            usage:
              description: Share of the limit in use.
              type: float
              returned: always
              sample: 1.0
            drop:
              description: Packets counted as dropped, V(none) where that is not known, as in RV(ansible_facts.conntrack.counters).
              type: int
              returned: always
              sample: 3909
            early_drop:
              description: Entries given up early, V(none) where that is not known.
              type: int
              returned: always
              sample: 0
            timeouts:
              description: Those that are not as in the own namespace, seconds by name.
              type: dict
              returned: always
              sample: {tcp_established: 432000}
            switches:
              description: The same, by name.
              type: dict
              returned: always
              sample: {tcp_loose: 0}
        netns_total:
          description: How many network namespaces there are, as far as can be seen.
          type: int
          returned: with subset C(namespaces)
          sample: 12
        log:
          description:
            - Messages of a full table in the kernel's ring buffer, and in the last MiB of each log file that syslog daemons write in C(/var/log).
            - If none has such a message and the own network namespace has dropped packets, those of this boot in the journal, the newest
              MiB.
          type: dict
          returned: with subset C(log)
          contains:
            table_full:
              description: How many there are, in the source that has most. A message may stand in several.
              type: int
              returned: always
              sample: 41
            suppressed:
              description: How many the kernel kept to itself, as the same source says; 0 from the journal.
              type: int
              returned: always
              sample: 3868
            first_seen:
              description: When the first one was, ISO 8601, UTC.
              type: str
              returned: always
              sample: "2026-11-22T08:13:01Z"
            last_seen:
              description: When the last one was.
              type: str
              returned: always
              sample: "2026-11-22T08:13:20Z"
            netns:
              description: The numbers of namespaces other than the first that messages name.
              type: list
              elements: int
              returned: always
            source:
              description: What could be read, the one that has most first; C(journal) is among them if it has any.
              type: list
              elements: str
              returned: always
              sample: [kernel ring buffer]
        unreadable:
          description: Paths that are there and could not be read.
          type: list
          elements: str
          returned: always
          sample: [/sys/module/nf_conntrack/parameters/hashsize]
        untold:
          description: What was not read for the time it would have taken, and with O(root) what cannot be known from a tree.
          type: list
          elements: str
          returned: always
          sample: ["812 processes of others than root: their network namespaces"]
        left_out:
          description:
            - How many items of a list are not told of, by the list's name; of each, 50 are. What is planned and predicted is made of all.
            - Texts are cut after 300 characters, and characters that a terminal would obey are escaped.
          type: dict
          returned: always
          sample: {outcome.problems: 12}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.reading import SubsetError, read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host


def host_in(root, budget):
    """This machine, or the one whose tree lies in ``root``. Raises OSError where there is none."""
    if root == "/":
        return Host(budget=budget)
    # Few are read so: the others need not load it.
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.tree import opened

    return opened(root, budget)


def main():
    module = AnsibleModule(
        argument_spec={
            "gather_subset": {"type": "list", "elements": "str", "default": ["all"]},
            "budget_seconds": {"type": "float", "default": 10},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    budget = module.params["budget_seconds"]
    if not 0 <= budget <= 3600:
        module.fail_json(msg="budget_seconds: {0} will not do: expected seconds from 0 to 3600".format(budget))
    try:
        facts = read(host_in(module.params["root"], budget), module.params["gather_subset"])
    except SubsetError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg="root: {0}: {1}".format(error.filename, error.strerror))
    module.exit_json(changed=False, ansible_facts={"conntrack": facts})


if __name__ == "__main__":
    main()
