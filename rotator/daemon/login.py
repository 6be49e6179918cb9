"""Staying logged in at Vault, where no call would otherwise renew the token in time."""

from __future__ import annotations

import logging

from rotator.daemon.backoff import Backoff
from rotator.daemon.shared import Shared
from rotator.errors import ServiceError

_log = logging.getLogger(__name__)

_LONGEST_WAIT = 300.0
# Vault locks an AppRole for a while after a few logins that failed
# (https://developer.hashicorp.com/vault/docs/concepts/user-lockout), so it is not asked often.


class StayingLoggedIn:
    """Has the token renewed when that is due. For one thread at a time.

    Where there is no lease, an idle process asks Vault nothing between two resyncs, and a
    token that lives for less than that would end.
    """

    def __init__(self, shared: Shared) -> None:
        """Use what the loop shares."""
        self._shared = shared
        self._backoff = Backoff(_LONGEST_WAIT)
        self._not_before = float("-inf")
        self._told = ""

    def run(self) -> None:
        """See to the token; mostly nothing is to be done, and nothing is sent."""
        now = self._shared.clock.monotonic()
        if self._shared.world is None or now < self._not_before:
            return  # the start logs in by itself
        try:
            self._shared.services.vault.stay_logged_in()
        except ServiceError as error:
            self._not_before = now + self._backoff.next()
            if str(error) != self._told:
                self._told = str(error)
                _log.error("there is no Vault token any more, trying again: %s", error)
            return
        self._backoff.reset()
        if self._told:
            self._told = ""
            _log.warning("Vault has let us in again")
