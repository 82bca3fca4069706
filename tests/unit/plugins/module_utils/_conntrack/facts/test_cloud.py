# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What network cards tell of a cloud's own limit: of which interfaces, and from a sosreport what ethtool wrote there."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.cloud import MOST_CARDS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host import tree
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

ENA = "/sys/bus/pci/drivers/ena"
NETWORKING = "/sos_commands/networking/"
DRIVER = (
    "driver: ena\nversion: 6.1.0-37-cloud-amd64\nfirmware-version: \nbus-info: 0000:00:05.0\nsupports-statistics: yes\n"
)
VIRTIO = "driver: virtio_net\nversion: 1.0.0\nbus-info: 0000:00:05.0\n"
COUNTERS = """NIC statistics:
     tx_timeout: 0
     conntrack_allowance_exceeded: 17
     linklocal_allowance_exceeded: 0
     conntrack_allowance_available: 136812
     queue_0_tx_cnt: 368940
"""
OLD = COUNTERS.replace("     conntrack_allowance_available: 136812\n", "")
CARD = {"interface": "ens5", "driver": "ena", "exceeded": 17, "available": 136812}


class Machine(Host):
    """A machine whose cards count what they are told."""

    def __init__(self, root, cards):
        super().__init__(str(root))
        self.cards = cards
        self.asked = []

    def card(self, interface):
        self.asked.append(interface)
        return self.cards.get(interface, {})


def lay_out(root, texts):
    for path, text in texts.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


def devices(interfaces):
    """sysfs, each interface a device, and what else is in a driver's folder."""
    found = {f"{ENA}/{word}": "" for word in ("bind", "module/refcnt", "uevent")}
    found.update({f"{ENA}/0000:00:{place:02x}.0/net/{name}/mtu": "" for place, name in enumerate(interfaces, 5)})
    return found


def cloud(host):
    return gather(host, ["table"]).get("cloud")


@pytest.mark.parametrize(
    ("interfaces", "cards", "found"),
    [
        ([], {}, None),
        (["ens5"], {"ens5": {"conntrack_allowance_exceeded": 17, "conntrack_allowance_available": 136812}}, [CARD]),
        (["ens5"], {"ens5": {"conntrack_allowance_exceeded": 17}}, [dict(CARD, available=None)]),
        (["ens5"], {"ens5": {"tx_timeout": 1}}, None),
        (["ens5"], {}, None),
        (
            ["ens5", "ens6"],
            {
                name: {"conntrack_allowance_exceeded": 17, "conntrack_allowance_available": 0}
                for name in ("ens5", "ens6")
            },
            [dict(CARD, available=0), dict(CARD, interface="ens6", available=0)],
        ),
    ],
    ids=["no device", "both", "an old driver", "neither", "no word", "two"],
)
def test_the_cards_of_the_driver(tmp_path, interfaces, cards, found):
    host = Machine(lay_out(tmp_path, devices(interfaces)), cards)
    assert cloud(host) == found
    assert host.asked == interfaces


def test_other_cards_are_not_asked(tmp_path):
    host = Machine(lay_out(tmp_path, {"/sys/bus/pci/drivers/virtio_net/0000:00:05.0/net/eth0/mtu": ""}), {})
    assert (cloud(host), host.asked) == (None, [])


def test_so_many_are_asked(tmp_path):
    host = Machine(lay_out(tmp_path, devices([f"ens{number}" for number in range(2 * MOST_CARDS)])), {})
    assert cloud(host) is None
    assert len(host.asked) == MOST_CARDS


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ({"ethtool_-i_ens5": DRIVER, "ethtool_-S_ens5": COUNTERS}, [CARD]),
        ({"ethtool_-i_ens5": DRIVER, "ethtool_-S_ens5": OLD}, [dict(CARD, available=None)]),
        ({"ethtool_-i_ens5": DRIVER}, None),
        ({"ethtool_-i_ens5": DRIVER, "ethtool_-S_ens5": "no stats available\n"}, None),
        ({"ethtool_-i_ens5": VIRTIO, "ethtool_-S_ens5": COUNTERS}, None),
        ({"ethtool_-i_ens5": DRIVER.replace("ena", "../ena"), "ethtool_-S_ens5": COUNTERS}, None),
        ({"ethtool_-i_ens5": "Cannot get driver information: No such device\n", "ethtool_-S_ens5": COUNTERS}, None),
    ],
    ids=["both", "an old driver", "no counters", "none there", "another driver", "no name of a driver", "no driver"],
)
def test_a_sosreport_has_what_ethtool_said(tmp_path, texts, found):
    lay_out(tmp_path, {NETWORKING + name: text for name, text in texts.items()})
    assert cloud(tree.opened(str(tmp_path))) == found


def test_a_tree_has_no_card_of_the_machine_that_reads_it(tmp_path):
    assert cloud(tree.opened(str(lay_out(tmp_path, devices(["lo"]))))) is None
