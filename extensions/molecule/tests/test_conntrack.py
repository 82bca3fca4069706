# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Holds at the end of every scenario, whatever has happened to the host since the role ran."""

from __future__ import annotations

from typing import Any


def test_the_kernel_does_what_the_files_say(live: dict[str, int], persisted: dict[str, int]) -> None:
    assert {name: live[name] for name in persisted} == persisted
    assert persisted.keys() >= {"nf_conntrack_max", "hashsize", "nf_conntrack_tcp_timeout_established"}


def test_the_kernel_does_what_is_planned(live: dict[str, int], plan: dict[str, Any]) -> None:
    planned = {name.rpartition(".")[2]: value for name, value in plan["sysctl"].items()}
    assert {name: live[name] for name in planned} == planned
    assert live["nf_conntrack_buckets"] == live["hashsize"] == plan["hashsize"]


def test_nothing_is_left_to_do(plan: dict[str, Any]) -> None:
    assert plan["drift"] == []
    assert plan["refusals"] == []
