# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Names of variables that are nearly right, and those that are somebody's own."""

import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.spelling import misspelt

ROLE = ["conntrack_" + field for field in Policy._fields]
PLAYBOOKS = ["relieve_confirm", "relieve_timeouts", "relieve_wait", "relieve_most", "audit_fail_on"]
DRILL = ["drill_" + name for name in ("firewall", "reload", "reboot", "out_of_band")]
KNOWN = ROLE + PLAYBOOKS + DRILL

# What is written, and what is meant.
NEAR = [
    ("conntrack_expected_connection", "conntrack_expected_connections"),
    ("conntrack_expectd_connections", "conntrack_expected_connections"),
    ("conntrack_timeout", "conntrack_timeouts"),
    ("conntrack_timout", "conntrack_timeouts"),
    ("conntrack_max_cieling", "conntrack_max_ceiling"),
    ("conntrack_max_floors", "conntrack_max_floor"),
    ("conntrack_hash_size", "conntrack_hashsize"),
    ("conntrack_head_room", "conntrack_headroom"),
    ("conntrack_take_over", "conntrack_takeover"),
    ("conntrack_Max", "conntrack_max"),
    ("CONNTRACK_MAX", "conntrack_max"),
    ("conntrack_mx", "conntrack_max"),
    ("conntrack_maxx", "conntrack_max"),
    ("conntrack_mxa", "conntrack_max"),
    ("conntrack_aply", "conntrack_apply"),
    ("conntrack_shrimk", "conntrack_shrink"),
    ("conntrack_rfc_floor", "conntrack_rfc_floors"),
    ("conntrack_memory_precent", "conntrack_memory_percent"),
    ("conntrack_timeouts_profile", "conntrack_timeout_profile"),
    ("conntrack_entries_pre_bucket", "conntrack_entries_per_bucket"),
    ("conntrack_expire_exisiting", "conntrack_expire_existing"),
    ("conntrack_expire_mots", "conntrack_expire_most"),
    ("conntrack_firewalls", "conntrack_firewall"),
    ("relieve_confrim", "relieve_confirm"),
    ("relieve_timeout", "relieve_timeouts"),
    ("relieve_wiat", "relieve_wait"),
    ("relieve_msot", "relieve_most"),
    ("drill_reebot", "drill_reboot"),
    ("drill_relaod", "drill_reload"),
    ("drill_fire_wall", "drill_firewall"),
    ("drill_out_of_bnad", "drill_out_of_band"),
    ("audit_fail_no", "audit_fail_on"),
    ("audit_failon", "audit_fail_on"),
    ("audit_fail", "audit_fail_on"),
]

OWN = [
    "conntrack_hosts",
    "conntrack_target",
    "conntrack_state",
    "conntrack_root",
    "conntrack_size_from_peaks",
    "conntrack_watch",
    "conntrack_exporter_port",
    "conntrack_max_alert_team",
    "conntrack_max_a",
    "conntrack_takeover_ok",
    "conntrack_timeouts_udp",
    "conntrack_mac",
    "conntrack_map",
    "conntrack_min",
    "conntrack_apply_to",
    "conntrack_timeout_file",
    "conntrack_profile",
    "conntrack_tables",
    "conntrack_",
    "conntrack",
    "relieve_time",
    "relieve_want",
    "drill_reports",
    "audit_failed",
    "audit_file",
    "max",
    "contrack_max",
    "headroom",
    "ansible_host",
    "",
    7,
]


@pytest.mark.parametrize(("name", "meant"), NEAR, ids=[name for name, _meant in NEAR])
def test_nearly(name, meant):
    assert misspelt([name], KNOWN) == [name + ": there is no such variable; did you mean " + meant + "?"]


@pytest.mark.parametrize("name", OWN, ids=repr)
def test_somebodys_own(name):
    assert misspelt([name], KNOWN) == []


def test_the_variables_themselves():
    assert misspelt(KNOWN, KNOWN) == []


def test_of_two_the_nearest():
    assert misspelt(["drill_reboad"], ["drill_reboots", "drill_reboard"])[0].endswith("did you mean drill_reboard?")


def test_all_in_order_and_escaped():
    found = misspelt(["conntrack_max\x1b", "ansible_host", "conntrack_aply"], KNOWN)
    assert [sentence.partition(":")[0] for sentence in found] == ["conntrack_aply", "conntrack_max\\x1b"]


def test_many_and_long_names_cost_little():
    names = ["conntrack_" + "x" * 2**20] + ["conntrack_own{0}".format(number) for number in range(1000)]
    started = time.process_time()
    assert misspelt(names + ["somebody_{0}".format(number) for number in range(100000)], KNOWN) == []
    assert time.process_time() - started < 3
