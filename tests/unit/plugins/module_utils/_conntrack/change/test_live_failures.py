# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Live values that do not hold: everything is put back, and what is said is true."""

import errno

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.request import Asked
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.transaction import run
from ansible_collections.headroom.netfilter.tests.unit.fakes import (
    ESTABLISHED,
    EXPECT_MAX,
    HASHSIZE,
    MAX,
    MAX_KEY,
    UDP,
    FakeKernel,
)

GROW = Asked(max=262144, buckets=131072, expect_max=2048, timeouts={"tcp_established": 7440, "udp": 20})
SHRINK = Asked(max=32768, buckets=32768, expect_max=512, timeouts={"tcp_established": 7440, "udp": 20}, shrink=True)
PUT_BACK = "what had been changed is again what it was before"


def fails(host, wanted):
    with pytest.raises(ChangeError) as caught:
        run(host, wanted)
    return str(caught.value)


@pytest.mark.parametrize("wanted", [GROW, SHRINK], ids=["growing", "shrinking"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
def test_whichever_write_fails_all_is_put_back(wanted, nth):
    host = FakeKernel()
    before = dict(host.values)
    host.fails_at = (nth,)
    said = fails(host, wanted)
    assert host.values == before
    assert "failed: Input/output error" in said
    assert PUT_BACK in said
    # One entry to a bucket before, two as asked for when growing.
    assert max(host.ratios) <= 2


@pytest.mark.parametrize("wanted", [GROW, SHRINK], ids=["growing", "shrinking"])
@pytest.mark.parametrize("path", [HASHSIZE, MAX, EXPECT_MAX, ESTABLISHED, UDP])
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EROFS, errno.EPERM, errno.ENOMEM], ids=errno.errorcode.get)
def test_a_value_that_can_never_be_written(wanted, path, number):
    host = FakeKernel()
    before = dict(host.values)
    host.errors[path] = number
    said = fails(host, wanted)
    assert host.values == before
    assert path in said
    assert PUT_BACK in said


@pytest.mark.parametrize(
    ("path", "clamped", "said"),
    [
        (MAX, 200000, MAX_KEY + ": 262144 asked for, " + MAX + " reads '200000' after it was written; "),
        (HASHSIZE, 100000, "hashsize: 131072 asked for, " + HASHSIZE + " reads '100352' after it was written; "),
        (EXPECT_MAX, 7, "expect_max: 2048 asked for, " + EXPECT_MAX + " reads '7' after it was written; "),
        (UDP, 10, "udp_timeout: 20 asked for, " + UDP + " reads '10' after it was written; "),
    ],
    ids=["limit", "buckets", "expectations", "timeout"],
)
def test_a_value_that_the_kernel_clamps(path, clamped, said):
    host = FakeKernel()
    host.clamps[path] = clamped
    found = fails(host, GROW)
    assert said in found
    # It cannot be put back either, and that is told; all the others are.
    name, value = found.rpartition("not all could be put back: ")[2].partition(":")[0].split(" is ")
    assert path.endswith(name.rpartition(".")[2])
    assert int(value) == host.values[path]
    others = dict(FakeKernel().values)
    assert {file: host.values[file] for file in others if file != path and "buckets" not in file} == {
        file: others[file] for file in others if file != path and "buckets" not in file
    }


def test_what_cannot_be_put_back_is_named_with_its_value():
    host = FakeKernel()
    # The second write fails, and so does putting back the first.
    host.fails_at = (2, 3, 4)
    said = fails(host, Asked(max=131072, buckets=131072))
    assert PUT_BACK not in said
    assert "hashsize is 131072" in said
    assert MAX_KEY + " is " not in said


def test_nothing_is_written_after_a_failure_but_what_puts_back():
    host = FakeKernel()
    host.fails_at = (2,)
    fails(host, GROW)
    assert host.written == [(HASHSIZE, 131072), (HASHSIZE, 65536)]


class Moving(FakeKernel):
    """A container, of which the host moves its limit at each write."""

    def write(self, path, text):
        super().write(path, text)
        self.values[MAX] += 1


def test_in_a_container_what_is_the_hosts_proves_nothing():
    host = Moving(first_netns=False)
    answer = run(host, Asked(timeouts={"udp": 20, "tcp_established": 7440}))
    assert (answer["changed"], host.values[MAX]) == (True, 65538)


def test_in_a_container_nothing_of_the_hosts_is_put_back():
    host = Moving(first_netns=False)
    host.fails_at = (2,)
    said = fails(host, Asked(timeouts={"udp": 20, "tcp_established": 7440}))
    assert PUT_BACK in said
    assert {path for path, _value in host.written} == {ESTABLISHED}
    assert (host.values[ESTABLISHED], host.values[UDP]) == (432000, 30)
