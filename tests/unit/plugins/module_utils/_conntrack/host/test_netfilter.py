# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The socket to netfilter: what is the kernel's is let in, all else is counted, and none of it goes on for ever."""

import collections
import errno
import itertools
import math
import os
import pathlib
import signal
import socket
import struct
import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host import netfilter
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.netfilter import (
    LONGEST_ANSWER,
    LONGEST_RECEIVING,
    Netfilter,
)

KERNEL, SOMEBODY = (0, 0), (4711, 0)
NUMBERS = 4096


def opened():
    try:
        return Netfilter()
    except OSError:
        pytest.skip("this kernel has no netfilter, or nobody may talk to it")


@pytest.fixture
def conversation():
    found = opened()
    yield found
    found.close()


def answer(sequence, size=20):
    return struct.pack("=IHHII", size, 0x100, 2, sequence, 0) + bytes(size - 16)


class Scripted:
    """In place of the socket: what is received, one after the other; an exception is raised in its place."""

    def __init__(self, *messages):
        self.messages = list(messages)
        self.options = []

    def recvmsg(self, size, room, flags):
        assert (size, room, flags) == (LONGEST_ANSWER, 0, socket.MSG_DONTWAIT)
        if not self.messages:
            raise BlockingIOError(errno.EAGAIN, "nothing")
        found = self.messages.pop(0)
        if isinstance(found, Exception):
            raise found
        content, sender, *truncated = found
        return content, [], socket.MSG_TRUNC if truncated else 0, sender

    def setsockopt(self, level, option, value):
        self.options.append(option)


@pytest.fixture(params=["answers", "received"])
def heard(request):
    """What comes of what is received, either way."""

    def hear(*messages):
        conversation = opened()
        conversation.close()
        conversation._socket = Scripted(*[message(conversation) for message in messages])
        return conversation, getattr(conversation, request.param)()

    return hear


def own(number=0, sender=KERNEL, **more):
    return lambda conversation: (answer(conversation.sequence + number, **more), sender)


def test_what_the_kernel_answers_to_what_was_asked(heard):
    conversation, found = heard(own(), own(1), own(NUMBERS - 1), own(size=32768))
    assert [len(one) for one in found] == [20, 20, 20, 32768]
    assert (conversation.forged, conversation._socket.options) == (0, [])


@pytest.mark.parametrize(
    "forged",
    [
        own(sender=SOMEBODY),
        own(sender=(1 << 31, 0)),
        own(-1),
        own(NUMBERS),
        lambda conversation: (answer(conversation.sequence ^ 1 << 31), KERNEL),
        lambda conversation: (answer(0), SOMEBODY),
        lambda conversation: (b"", KERNEL),
        lambda conversation: (b"\1" * 11, KERNEL),
        lambda conversation: (bytes(LONGEST_ANSWER), SOMEBODY, "truncated"),
    ],
    ids=["sender", "kernel's like", "before", "after", "random", "both", "empty", "short", "cut off"],
)
def test_all_else_is_counted_and_kept_out_from_then_on(heard, forged):
    conversation, found = heard(own(), forged, own(1), forged, forged)
    assert [struct.unpack_from("=8xI", one)[0] - conversation.sequence for one in found] == [0, 1]
    assert (conversation.forged, len(conversation._socket.options)) == (3, 1)


def test_an_answer_that_is_cut_off_is_none(heard):
    _conversation, found = heard(lambda conversation: (answer(conversation.sequence), KERNEL, "truncated"))
    with pytest.raises(OSError, match="Message too long"):
        list(found)


def test_what_is_lost_is_told(heard):
    _conversation, found = heard(own(), lambda conversation: OSError(errno.ENOBUFS, "No buffer space available"))
    assert len(next(found)) == 20
    with pytest.raises(OSError, match="No buffer space"):
        next(found)


class Endless(Scripted):
    def __init__(self, *message):
        super().__init__()
        self.message = message
        self.now = 0.0
        self.after, self.then = math.inf, KERNEL  # so many later, another sender

    def recvmsg(self, size, room, flags):
        self.now += 0.01
        self.after -= 1
        return self.message[0], [], 0, self.then if self.after <= 0 else self.message[1]


@pytest.mark.parametrize("sender", [KERNEL, SOMEBODY], ids=["kernel", "somebody"])
@pytest.mark.parametrize("way", ["answers", "received"])
def test_it_ends_however_much_comes(monkeypatch, conversation, sender, way):
    real, conversation._socket = conversation._socket, Endless(answer(conversation.sequence), sender)
    monkeypatch.setattr(netfilter.time, "monotonic", lambda: conversation._socket.now)
    heard = []
    with pytest.raises(TimeoutError):
        heard.extend(map(len, getattr(conversation, way)()))
    if sender is SOMEBODY:
        assert abs(conversation.forged - LONGEST_RECEIVING * 100) < 10
    else:
        assert conversation.forged == 0
    conversation._socket = real


def test_time_that_is_spent_on_what_came_is_not_counted(monkeypatch, heard):
    now = [0.0]
    monkeypatch.setattr(netfilter.time, "monotonic", lambda: now[0])
    _conversation, found = heard(*[own()] * 50)
    for _message in found:
        now[0] += LONGEST_RECEIVING
        time.sleep(0.0001)


def children():
    found = pathlib.Path("/proc/self/task")
    return sorted(child for task in found.iterdir() for child in (task / "children").read_text().split())


@pytest.mark.parametrize("sender", [KERNEL, SOMEBODY], ids=["kernel", "somebody"])
def test_answers_that_nobody_waits_for_leave_no_child(conversation, sender):
    """However many there are still."""
    real, before, opened_before = conversation._socket, children(), os.listdir("/proc/self/fd")
    conversation._socket = Endless(answer(conversation.sequence), KERNEL)
    answers = conversation.answers()
    for _number in range(netfilter._FEW):
        next(answers)
    assert children() == before, "few are received at once"
    conversation._socket.after, conversation._socket.then = 100, sender
    for _number in range(50):
        next(answers)
    assert len(children()) == len(before) + 1
    answers.close()
    assert (children(), os.listdir("/proc/self/fd")) == (before, opened_before)
    conversation._socket = real


@pytest.mark.parametrize("count", [0, 1, 8, 9, 23, 24, 25, 72, 500])
def test_any_number_of_answers_of_any_length_in_their_order(heard, count):
    _conversation, found = heard(*[own(number, size=20 + 4 * (number * 7919 % 10000)) for number in range(count)])
    assert [(struct.unpack_from("=8xI", one)[0] - _conversation.sequence, len(one)) for one in found] == [
        (number, 20 + 4 * (number * 7919 % 10000)) for number in range(count)
    ]


def test_what_befalls_the_child_is_told(conversation):
    real = conversation._socket
    conversation._socket = Endless(answer(conversation.sequence), KERNEL)
    answers = conversation.answers()
    for _number in range(netfilter._FEW + 1):
        next(answers)
    for child in children():
        os.kill(int(child), signal.SIGKILL)
    with pytest.raises(OSError, match="ended without a word"):
        collections.deque(answers, maxlen=0)
    conversation._socket = real


def test_what_is_lost_by_the_child_is_told(heard):
    lost = OSError(errno.ENOBUFS, "No buffer space available")
    _conversation, found = heard(*[own()] * 30, lambda conversation: lost, own())
    assert len(list(itertools.islice(found, 30))) == 30
    with pytest.raises(OSError, match="No buffer space"):
        next(found)


@pytest.mark.parametrize("shut_out", [False, True], ids=["open", "others shut out"])
@pytest.mark.parametrize("number", [0, 1, NUMBERS - 1])
def test_a_conversation_with_the_kernel(shut_out, number):
    """No more than any user may do: a request that the kernel does not know is refused, with its sequence."""
    conversation = opened()
    if shut_out:
        conversation.shut_out()
    assert list(conversation.received()) == []
    asked = conversation.sequence + number
    conversation.send(struct.pack("=IHHII", 20, 0x3FFF, 0x5, asked, 0) + bytes(4))
    length, kind, _flags, sequence, _port, refused = struct.unpack_from("=IHHIIi", b"".join(conversation.answers()))
    assert (kind, sequence) == (2, asked)
    assert length >= 20
    assert refused < 0
    assert (list(conversation.received()), conversation.forged) == ([], 0)
    conversation.close()
    with pytest.raises(OSError, match="descriptor"):
        list(conversation.answers())


@pytest.mark.parametrize("shut_out", [False, True], ids=["counted", "dropped by the kernel"])
@pytest.mark.parametrize("number", [-1, NUMBERS, 1 << 30])
def test_what_the_kernel_says_to_something_else(shut_out, number):
    conversation = opened()
    if shut_out:
        conversation.shut_out()
    sequence = conversation.sequence + number & 0xFFFFFFFF
    conversation.send(struct.pack("=IHHII", 20, 0x3FFF, 0x5, sequence, 0) + bytes(4))
    assert (list(conversation.received()), conversation.forged) == ([], 0 if shut_out else 1)
    # From the first on the kernel drops them.
    conversation.send(struct.pack("=IHHII", 20, 0x3FFF, 0x5, sequence, 0) + bytes(4))
    assert (list(conversation.answers()), conversation.forged) == ([], 0 if shut_out else 1)
    conversation.close()


def test_nobody_knows_the_next_sequence():
    conversations = [opened() for _number in range(20)]
    for each in conversations:
        each.close()
    assert len({each.sequence for each in conversations}) > 15
    assert all(0 <= each.sequence <= 0xFFFFFFFF - NUMBERS + 1 for each in conversations)
