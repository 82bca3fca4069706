# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The house: every room imports only what stands above it, no file is in a circle, and no room is crowded."""

import importlib.util
import os
from collections import Counter

import pytest

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def load():
    spec = importlib.util.spec_from_file_location("house", os.path.join(REPO, "tools", "house.py"))
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


house = load()
ROOMS = list(house.ROOMS)
MOST_FILES = 12
# Ansible finds filters in one folder alone, and there is one for each thing that a playbook asks.
MORE = {"filter": 16}
IMPORTS = house.imports()


def test_every_file_stands_in_a_room():
    assert {house.room(path) for path in house.files()} <= set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_stands_above_it(room):
    above = ROOMS[: ROOMS.index(room) + 1]
    below = {
        "{0} imports {1}".format(path, other)
        for path, others in IMPORTS.items()
        if house.room(path) == room
        for other in others
        if house.room(other) not in above
    }
    assert not below


def test_no_file_is_in_a_circle():
    left = {path: set(others) for path, others in IMPORTS.items()}
    while True:
        free = [path for path, others in left.items() if not others & set(left)]
        if not free:
            break
        for path in free:
            del left[path]
    assert not left


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_at_most_a_dozen_files(room):
    crowd = Counter(map(house.room, house.files()))
    assert crowd[room] <= MORE.get(room, MOST_FILES)


def test_the_picture_is_of_the_code():
    with open(os.path.join(REPO, "docs", "architecture.svg"), encoding="utf-8") as opened:
        assert opened.read() == house.picture()
