"""Putting pages together: complete, or no listing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.adapters.openrouter import OpenRouterIssuer, listing
from rotator.core.keys import IssuedKey
from rotator.errors import Refused, ServiceError, Transient, Unauthorised
from tests.adapters.loopback import Reply
from tests.adapters.openrouter.conftest import IssuerFor, shown
from tests.adapters.openrouter.raw_server import RawServer, answer, cut, error, page

BASE = "https://openrouter.invalid/api/v1"


def hash_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@dataclass
class Account:
    """An account whose keys change while they are listed; it answers through httpx's own transport."""

    keys: dict[str, list[int]]
    size: int = 100
    meanwhile: Callable[[int], None] = lambda _: None
    asked: list[dict[str, str]] = field(default_factory=list)

    def handle(self, request: httpx.Request) -> httpx.Response:
        query = dict(request.url.params)
        self.asked.append(query)
        keys = self.keys[query.get("workspace_id", "")]
        offset = int(query["offset"])
        data = [shown(hash_of(number)) for number in keys[offset : offset + self.size]]
        self.meanwhile(len(self.asked))
        return httpx.Response(200, json={"data": data})

    def offsets(self) -> list[int]:
        return [int(query["offset"]) for query in self.asked]


def listed(issuer_for: IssuerFor, account: Account, workspace: str | None = None) -> set[str]:
    issuer = issuer_for(BASE, transport=httpx.MockTransport(account.handle))
    keys = issuer.list_keys(workspace)
    hashes = {key.hash for key in keys}
    assert len(hashes) == len(keys), "each key once"
    return hashes


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 198, 199, 200, 250, 1000])
def test_every_key_is_listed_whatever_their_number(issuer_for: IssuerFor, count: int) -> None:
    account = Account({"": list(range(count))})
    assert listed(issuer_for, account) == {hash_of(number) for number in range(count)}


def test_pages_overlap_by_one_entry(issuer_for: IssuerFor) -> None:
    account = Account({"": list(range(250))})
    listed(issuer_for, account)
    assert account.offsets() == [0, 99, 198]


def test_disabled_and_expired_keys_are_asked_for(issuer_for: IssuerFor) -> None:
    account = Account({"": [1]})
    listed(issuer_for, account)
    assert account.asked == [{"include_disabled": "true", "include_expired": "true", "offset": "0"}]


def test_every_page_is_of_the_workspace_that_is_asked_for(issuer_for: IssuerFor) -> None:
    account = Account({"": [1000], "a": list(range(250))})
    assert listed(issuer_for, account, "a") == set(map(hash_of, range(250)))
    assert [query.get("workspace_id") for query in account.asked] == ["a", "a", "a"]


def test_keys_made_meanwhile_hide_none(issuer_for: IssuerFor) -> None:
    keys = list(range(350))
    account = Account({"": keys}, meanwhile=lambda call: keys.insert(0, 10_000 + call))
    assert listed(issuer_for, account) >= {hash_of(number) for number in range(350)}
    assert account.offsets() == [0, 99, 198, 297]


def test_a_key_deleted_meanwhile_makes_the_listing_start_over(issuer_for: IssuerFor) -> None:
    keys = list(range(250))
    account = Account({"": keys}, meanwhile=lambda call: keys.remove(5) if call == 1 else None)
    assert listed(issuer_for, account) >= set(map(hash_of, keys))
    assert account.offsets() == [0, 99, 0, 99, 198]


def test_keys_deleted_until_no_second_page_is_left_make_the_listing_start_over(
    issuer_for: IssuerFor,
) -> None:
    keys = list(range(101))

    def meanwhile(call: int) -> None:
        if call == 1:
            del keys[:3]

    account = Account({"": keys}, meanwhile=meanwhile)
    assert listed(issuer_for, account) >= set(map(hash_of, keys))
    assert account.offsets() == [0, 99, 0]


def test_keys_that_go_on_disappearing_are_no_listing(issuer_for: IssuerFor) -> None:
    keys = list(range(250))
    account = Account({"": keys}, meanwhile=lambda _: keys.__delitem__(0))
    with pytest.raises(Transient, match="disappearing"):
        listed(issuer_for, account)
    assert account.offsets() == [0, 99] * listing.STARTS


def test_a_server_that_ignores_the_offset_is_no_listing(issuer_for: IssuerFor) -> None:
    data = [shown(hash_of(number)) for number in range(100)]
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"data": data}))
    with pytest.raises(Transient, match="repeat"):
        issuer_for(BASE, transport=transport).list_keys(None)


def test_pages_that_never_end_are_no_listing() -> None:
    offsets = []

    def page_at(offset: int) -> tuple[IssuedKey, ...]:
        offsets.append(offset)
        return tuple(
            IssuedKey(hash=str(number), name="", disabled=False)
            for number in range(offset, offset + 100)
        )

    found = listing.gather(page_at)
    assert isinstance(found, listing.NoListing)
    assert "does not end" in found.why
    assert len(offsets) == listing.MOST_PAGES


def test_larger_pages_than_documented_lose_nothing(issuer_for: IssuerFor) -> None:
    account = Account({"": list(range(700))}, size=300)
    assert listed(issuer_for, account) == {hash_of(number) for number in range(700)}


GOOD = {"data": [shown()]}
NO_LISTING: dict[str, tuple[Reply, type[ServiceError]]] = {
    "an entry without a hash": (answer(200, {"data": [shown(), {"name": "x"}]}), Transient),
    "an entry with a bad hash": (answer(200, {"data": [shown(hash="zz" * 32)]}), Transient),
    "an entry that is null": (answer(200, {"data": [None]}), Transient),
    "no list": (answer(200, {"data": {}}), Transient),
    "no data": (answer(200, {}), Transient),
    "html": (page(200), Transient),
    "cut": (cut(200, GOOD), Transient),
    "500": (error(500), Transient),
    "429": (error(429), Transient),
    "404 of a proxy": (page(404), Transient),
    "404": (error(404, "Workspace not found"), Refused),
    "400": (error(400), Refused),
    "403": (error(403), Refused),
    "401": (error(401), Unauthorised),
}


@pytest.mark.parametrize("case", NO_LISTING)
def test_a_listing_that_is_not_understood_is_none(
    server: RawServer, issuer: OpenRouterIssuer, case: str
) -> None:
    reply, kind = NO_LISTING[case]
    server.will(reply)
    with pytest.raises(ServiceError) as caught:
        issuer.list_keys(None)
    assert type(caught.value) is kind


@pytest.mark.parametrize("reply", [error(404, "Workspace not found"), answer(200, {})])
def test_a_listing_that_fails_names_its_workspace(
    server: RawServer, issuer: OpenRouterIssuer, reply: Reply
) -> None:
    server.will(reply)
    with pytest.raises(ServiceError, match="openrouter: list keys of workspace w: HTTP"):
        issuer.list_keys("w")


def workspace(number: int) -> dict[str, Any]:
    return {"id": f"w-{number}", "name": f"Workspace {number}", "slug": f"w{number}"}


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
@pytest.mark.parametrize("size", [100, 50])
def test_every_workspace_is_told_of_whatever_their_number(
    issuer_for: IssuerFor, count: int, size: int
) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params["offset"])
        numbers = range(count)[offset : offset + size]
        data = [workspace(number) for number in numbers]
        return httpx.Response(200, json={"data": data, "total_count": count})

    issuer = issuer_for(BASE, transport=httpx.MockTransport(handle))
    assert issuer.list_workspaces() == {f"w-{number}" for number in range(count)}


def test_workspaces_that_never_end_are_no_list(
    issuer_for: IssuerFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_PAGES", 3)

    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": [workspace(int(request.url.params["offset"]))]})

    with pytest.raises(Transient, match="exceeds 3 pages"):
        issuer_for(BASE, transport=httpx.MockTransport(handle)).list_workspaces()


NO_WORKSPACES: dict[str, tuple[Reply, type[ServiceError]]] = {
    "one without an id": (answer(200, {"data": [{"name": "x"}]}), Transient),
    "one that is null": (answer(200, {"data": [None]}), Transient),
    "no list": (answer(200, {"data": {}}), Transient),
    "html": (page(200), Transient),
    "404 of a proxy": (page(404), Transient),
    "403": (error(403), Refused),
    "401": (error(401), Unauthorised),
}


@pytest.mark.parametrize("case", NO_WORKSPACES)
def test_workspaces_that_are_not_understood_are_none(
    server: RawServer, issuer: OpenRouterIssuer, case: str
) -> None:
    reply, kind = NO_WORKSPACES[case]
    server.will(reply)
    with pytest.raises(ServiceError, match="openrouter: list workspaces: HTTP") as caught:
        issuer.list_workspaces()
    assert type(caught.value) is kind


@given(data=st.data())
def test_no_key_that_was_there_throughout_is_missed(data: Any) -> None:
    """Whatever is made and deleted between two pages, a listing holds all that stayed, or is none."""
    keys = list(range(data.draw(st.integers(0, 12), "keys")))
    stayed, made = set(keys), 1000
    size = 4

    def page_at(offset: int) -> tuple[IssuedKey, ...]:
        nonlocal made
        page = keys[offset : offset + size]
        for _ in range(data.draw(st.integers(0, 2), "made")):
            keys.insert(0, made)
            made += 1
        for victim in (
            data.draw(st.lists(st.sampled_from(keys), max_size=2), "deleted") if keys else []
        ):
            if victim in keys:
                keys.remove(victim)
                stayed.discard(victim)
        return tuple(IssuedKey(hash=str(number), name="", disabled=False) for number in page)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "FULL", size)
        found = listing.gather(page_at)
    if not isinstance(found, listing.NoListing):
        assert {str(number) for number in stayed} <= set(found)
