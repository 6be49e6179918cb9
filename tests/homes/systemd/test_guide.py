"""The installation guide: each command in it was given, in its order, and did what it says."""

from __future__ import annotations

import pytest

from tests.homes.guides import blocks
from tests.homes.systemd.conftest import GUIDE, Home
from tests.wiring.stand import eventually

pytestmark = pytest.mark.timeout(600)


def wrote(home: Home, text: str) -> str:
    """Return what the block with a text in it has written."""
    return next(written for block, written in home.written.items() if text in block)


def test_following_the_guide_leads_to_a_service_that_rotates_and_ends_with_none(
    installed: Home,
) -> None:
    home, machine = installed, installed.machine
    assert "rotator, version" in wrote(home, "rotator --version")
    assert "billing-api" in wrote(home, "rotator plan")
    assert "active (running)" in wrote(home, "systemctl status")
    first = home.is_served("billing")

    machine.run("cp", "-a", "/opt/rotator", "/opt/kept")
    home.follow(home.guide_goes_on, until="rotator status")
    second = home.is_served("billing", other_than=first)
    assert home.sandbox.account.works(second) is not None
    assert "billing-api" in wrote(home, "rotator status")
    home.follow(home.guide_goes_on, until="systemctl reload")
    home.follow(home.guide_goes_on, until="systemctl restart")
    assert machine.property("ActiveState") == "active"
    home.follow(home.guide_goes_on, until="systemctl disable")
    assert machine.property("LoadState") == "not-found"
    assert home.value("billing") is not None
    assert next(home.guide_goes_on, None) is None
    assert set(home.written) == set(blocks(GUIDE)), "no command was left out"
    install_again(home)
    eventually(lambda: machine.property("LoadState") == "loaded", "it is there again")


def install_again(home: Home) -> None:
    """Put back for other tests what the end of the guide has removed."""
    machine = home.machine
    machine.run("mv", "/opt/kept", "/opt/rotator")
    machine.write("/srv/rotator/management-key", home.sandbox.management_key)
    for text in ("systemd-creds", "deploy/systemd/rotator.service", "deploy/systemd/rotator-admin"):
        block = next(block for block in home.written if text in block)
        machine.do(block.replace("rotator check\n", "").replace("rotator plan\n", ""))
