"""Random snapshots: consistent enough to reach every question of the planner, odd enough to hurt.

A handful of keys, versions and instants is drawn from again and again, so that what
matters (two sources that name the same key, two instants that are equal) is common.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from rotator.core.keys import IssuedKey
from rotator.core.ledger import (
    Claim,
    ClaimKind,
    Failure,
    ForeignValue,
    Hold,
    KeyTerms,
    Ledger,
    PolicyDurations,
    PutBack,
    RetiringKey,
    ServedKey,
)
from rotator.core.reasons import Reason
from rotator.core.request import Answer, Arguments, Before, Request, Result, Verb
from rotator.core.snapshot import (
    Demand,
    Draft,
    LedgerSeen,
    Limits,
    Listing,
    Look,
    Rollback,
    SecretSeen,
    Snapshot,
    ValueSeen,
)
from rotator.core.target import (
    AfterDeadline,
    Blackout,
    Drain,
    Evidence,
    KeySettings,
    LimitReset,
    OnDisabled,
    Policy,
    Target,
    Window,
)
from tests.core.builders import (
    DAY,
    DRAWN_NONCE,
    HOUR,
    IDENTITY,
    MINUTE,
    NONCE,
    NOW,
    OTHER_NONCE,
    OTHER_PATH,
    PATH,
    h,
    marked,
)

HASHES = tuple(h(name) for name in "ABCDEF")
hashes = st.sampled_from(HASHES)
maybe_hash = st.none() | hashes
OFFSETS = (
    timedelta(),
    timedelta(seconds=1),
    MINUTE,
    5 * MINUTE,
    HOUR,
    DAY,
    2 * DAY,
    3 * DAY,
    4 * DAY,
    8 * DAY,
    9 * DAY,
    30 * DAY,
    60 * DAY,
)
pasts = st.sampled_from(tuple(NOW - offset for offset in OFFSETS))
instants = st.sampled_from(
    tuple(NOW - offset for offset in OFFSETS) + tuple(NOW + offset for offset in OFFSETS[1:8])
)
nonces = st.sampled_from((NONCE, OTHER_NONCE))
workspaces = st.sampled_from((None, "work-1", "work-2"))
some_workspaces = st.frozensets(st.sampled_from(("work-1", "work-2")))
resets: st.SearchStrategy[LimitReset | None] = st.sampled_from((None, "daily", "monthly"))
amounts = st.sampled_from((None, 0.0, 0.5, 50.0))
spans = st.sampled_from((timedelta(), timedelta(seconds=1), MINUTE, HOUR, DAY, 7 * DAY))

terms = st.builds(
    KeyTerms,
    limit=amounts,
    limit_reset=resets,
    include_byok_in_limit=st.booleans(),
    creator_user_id=st.sampled_from((None, "user-1")),
)

windows = st.sampled_from(
    ((), (Window(frozenset(range(5)), 540, 1020),), (Window(frozenset({6}), 0, 60),))
)
blackouts = st.sampled_from(((), (Blackout(NOW.date(), NOW.date()),)))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any policy that the configuration could hold."""
    by_cron = draw(st.booleans())
    return Policy(
        every=None if by_cron else draw(st.sampled_from((HOUR, 10 * DAY, 30 * DAY))),
        cron="0 3 * * sun" if by_cron else None,
        jitter=draw(st.sampled_from((timedelta(), MINUTE))),
        max_age=draw(st.sampled_from((None, 40 * DAY))),
        grace=draw(spans),
        drain=Drain(
            draw(spans),
            draw(spans),
            draw(st.sampled_from(AfterDeadline)),
            draw(st.sampled_from(Evidence)),
        ),
        quarantine=draw(spans),
        on_disabled=draw(st.sampled_from(OnDisabled)),
        windows=draw(windows),
        blackouts=draw(blackouts),
    )


key_settings = st.builds(
    KeySettings,
    limit=amounts,
    limit_reset=resets,
    include_byok_in_limit=st.sampled_from((None, True, False)),
    expires_in=st.sampled_from((None, 60 * DAY)),
    workspace_id=workspaces,
)


@st.composite
def targets(draw: st.DrawFn) -> Target:
    """``billing``, configured or let go."""
    return Target(
        "billing",
        draw(st.sampled_from((PATH, PATH, PATH, OTHER_PATH))),
        draw(policies()),
        draw(key_settings),
        configured=draw(st.sampled_from((True, True, True, False))),
    )


names = st.sampled_from(
    (
        marked(NONCE),
        marked(OTHER_NONCE),
        marked(NONCE, target="payroll"),
        marked(NONCE, installation="f" * 16),
        "made by hand",
    )
)


@st.composite
def issued_keys(draw: st.DrawFn, key_hash: str) -> IssuedKey:
    """What OpenRouter says of the key of a hash."""
    return IssuedKey(
        hash=key_hash,
        name=draw(names),
        disabled=draw(st.booleans()),
        created_at=draw(st.none() | pasts),
        expires_at=draw(st.none() | instants),
        last_used_at=draw(st.none() | instants),
        usage=draw(amounts),
        limit=draw(amounts),
        limit_remaining=draw(st.sampled_from((None, -1.0, 0.0, 2.5))),
        limit_reset=draw(resets),
        limits_known=draw(st.sampled_from((True, True, True, False))),
        workspace_id=draw(workspaces),
    )


def digest_of(draw: st.DrawFn, key_hash: str) -> str:
    """The digest of a key's plaintext: its hash, save for a rare odd one."""
    digest: str = draw(st.sampled_from((key_hash,) * 7 + (h("odd " + key_hash),)))
    return digest


@st.composite
def served_keys(draw: st.DrawFn) -> ServedKey:
    """Any served key."""
    key_hash = draw(hashes)
    version = draw(st.integers(1, 6))
    return ServedKey(
        hash=key_hash,
        value_sha256=digest_of(draw, key_hash),
        minted_by_us=draw(st.booleans()),
        workspace=draw(workspaces),
        minted_at=draw(pasts),
        claimed_at=draw(st.none() | pasts),
        published_at=draw(pasts),
        due_from=draw(pasts),
        secret_version=version,
        secret_created_time=written_at(version),
        expires_at=draw(st.none() | instants),
        terms=draw(st.none() | terms),
        disable_claimed=draw(st.booleans()),
        delete_claimed=draw(st.booleans()),
        compromised=draw(st.booleans()),
    )


@st.composite
def retiring_keys(draw: st.DrawFn, key_hash: str) -> RetiringKey:
    """Any retiring key of a hash; any reason at all may be why."""
    disabled_at = draw(st.none() | pasts)
    looked_at = draw(st.none() | pasts)
    return RetiringKey(
        hash=key_hash,
        value_sha256=digest_of(draw, key_hash),
        minted_by_us=draw(st.booleans()),
        workspace=draw(workspaces),
        minted_at=draw(st.none() | pasts),
        secret=draw(st.sampled_from((PATH, PATH, OTHER_PATH))),
        since=draw(instants),
        why=draw(st.sampled_from(Reason)),
        looked_at=looked_at,
        last_used_at=draw(st.none() | instants) if looked_at else None,
        usage=draw(amounts) if looked_at else None,
        quiet_since=draw(st.none() | pasts) if looked_at else None,
        disabled_at=disabled_at,
        enabled_by_hand=draw(st.booleans()) if disabled_at else False,
        disable_claimed=draw(st.booleans()),
        delete_claimed=draw(st.booleans()) if disabled_at else False,
        terms=draw(st.none() | terms),
        expires_at=draw(st.none() | instants),
    )


def written_at(version: int) -> datetime:
    """When the secret's version of that number was written."""
    return NOW - 20 * DAY + version * HOUR


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    """A claim of any kind, based on any version of the secret."""
    kind = draw(st.sampled_from(ClaimKind))
    version = draw(st.integers(0, 6))
    about = kind in (ClaimKind.ROLLBACK, ClaimKind.DISABLE, ClaimKind.DELETE)
    odd = kind is ClaimKind.ROTATE and draw(st.booleans())
    key = draw(hashes) if about or odd else None
    return Claim(
        kind=kind,
        op="feed",
        holder=draw(st.sampled_from((IDENTITY.holder, "replica-2"))),
        started_at=draw(pasts),
        reason=draw(st.sampled_from(Reason)),
        base_version=version,
        base_created_time=written_at(version) if version else None,
        nonce=draw(nonces) if kind is ClaimKind.ROTATE else None,
        key=key,
        value_sha256=h("odd " + key) if odd and key else None,
        workspace=draw(workspaces),
    )


holds = st.builds(
    Hold,
    reason=st.sampled_from((Reason.HELD, Reason.CONTESTED)),
    why=st.just("audit week"),
    by=st.just("ops"),
    at=pasts,
)
failures = st.builds(
    Failure,
    reason=st.sampled_from(Reason),
    detail=st.just("no answer"),
    since=pasts,
    count=st.integers(1, 9),
    next_try=instants,
)
requests = st.builds(
    Request,
    id=nonces,
    verb=st.sampled_from(Verb),
    arguments=st.builds(
        Arguments,
        named=st.booleans(),
        compromised=st.booleans(),
        keys=st.lists(hashes, max_size=2).map(tuple),
    ),
    by=st.just("me@here"),
    at=pasts,
    until=instants,
    served=maybe_hash,
    claimed=st.none() | pasts,
)
answers = st.builds(
    Answer,
    id=nonces,
    result=st.sampled_from(Result),
    reason=st.none() | st.sampled_from(Reason),
    detail=st.just("no answer"),
    keys=st.lists(hashes, max_size=2).map(tuple),
    by=st.just("replica-2"),
    at=pasts,
)


@st.composite
def ledgers(draw: st.DrawFn, *, any_schema: bool = False) -> Ledger:
    """Any ledger: several retiring keys, each hash at one place only, or (rarely) at two."""
    chosen: dict[str, Any] = {}
    if draw(st.booleans()) or draw(st.booleans()):
        chosen["served"] = draw(served_keys())
    elif draw(st.booleans()):
        version = draw(st.integers(1, 6))
        chosen["foreign"] = ForeignValue(version, written_at(version), draw(pasts))
    old = draw(st.lists(hashes, unique=True, max_size=4))
    if "served" in chosen and draw(st.integers(0, 9)):
        old = [each for each in old if each != chosen["served"].hash]
    return Ledger(
        secret=draw(st.sampled_from((PATH, PATH, PATH, OTHER_PATH))),
        policy=PolicyDurations.of(draw(policies())),
        first_seen=draw(pasts),
        audit_head=draw(st.none() | st.just("c" * 64)),
        pending=draw(st.none() | claims()),
        retiring=tuple(draw(retiring_keys(each)) for each in old),
        abandoned=tuple(draw(st.lists(nonces, unique=True))),
        deleted=tuple(draw(st.lists(hashes.flatmap(retiring_keys), max_size=2))),
        put_back=draw(st.none() | st.builds(PutBack, hash=hashes, at=pasts)),
        hold=draw(st.none() | st.none() | holds),
        failure=draw(st.none() | st.none() | failures),
        request=draw(st.none() | st.none() | requests),
        answers=tuple(draw(st.lists(answers, max_size=2))),
        **chosen,
    )


values = (
    st.builds(ValueSeen, sha256=hashes)
    | st.builds(ValueSeen, sha256=hashes)
    | st.just(ValueSeen(None))
    | st.just(ValueSeen(None, odd=True))
    | st.builds(ValueSeen, sha256=st.just(h("nobody's")))
)


@st.composite
def secrets_seen(draw: st.DrawFn, book: Ledger | None) -> SecretSeen:
    """The secret, often at the version that the ledger names and holding what it says."""
    served = book.served if book is not None else None
    if served is not None and draw(st.booleans()):
        value = draw(st.none() | st.just(ValueSeen(served.value_sha256)))
        return SecretSeen(served.secret_version, served.secret_created_time, live=True, value=value)
    version = draw(st.integers(0, 30))
    live = version > 0 and draw(st.sampled_from((True, True, True, False)))
    created = written_at(version) if version else None
    if created is not None and not draw(st.integers(0, 9)):
        created += timedelta(seconds=1)  # deleted and made again
    return SecretSeen(version, created, live=live, value=draw(st.none() | values) if live else None)


demands = st.builds(
    Demand,
    named=st.booleans(),
    compromised=st.booleans(),
    overwrite_foreign=st.booleans(),
    before=st.none() | st.builds(Before, st.none() | hashes, st.none() | instants),
    rollback=st.none() | st.builds(Rollback, key=st.none() | hashes),
    adopt=st.booleans(),
)


@st.composite
def looks_at(draw: st.DrawFn) -> dict[str, Look]:
    """GETs of some keys, of which OpenRouter may know nothing."""
    asked = draw(st.lists(hashes, unique=True))
    return {each: Look(draw(st.none() | issued_keys(each))) for each in asked}


@st.composite
def listings(draw: st.DrawFn) -> Listing:
    """A listing of some keys."""
    found = draw(st.lists(hashes, unique=True))
    keys = {each: draw(issued_keys(each)) for each in found}
    return Listing(keys, fresh=draw(st.booleans()), workspaces=draw(some_workspaces))


@st.composite
def ledgers_seen(draw: st.DrawFn) -> LedgerSeen:
    """A ledger, or none, or one that cannot be used."""
    shape = draw(st.integers(0, 11))
    created = draw(instants)
    if shape == 0:
        return LedgerSeen(draw(st.sampled_from((0, 4))), created, None)
    if shape == 1:
        trouble = draw(st.sampled_from((Reason.LEDGER_NEWER, Reason.LEDGER_UNREADABLE)))
        return LedgerSeen(4, created, None, trouble, "not understood")
    return LedgerSeen(4, created, draw(ledgers()))


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Everything at once; the clocks agree for the most part."""
    ledger = draw(ledgers_seen())
    target = draw(targets())
    if ledger.ledger is not None and draw(st.integers(0, 4)):
        ledger = replace(ledger, ledger=replace(ledger.ledger, secret=target.secret))
    may_read = draw(st.sampled_from((True, True, True, False)))
    secret = draw(secrets_seen(ledger.ledger))
    if not may_read:
        secret = replace(secret, value=None)
    read = draw(st.lists(st.integers(1, 29), unique=True, max_size=6))
    skew = draw(st.sampled_from((timedelta(),) * 5 + (MINUTE, -MINUTE, 5 * MINUTE, HOUR, -HOUR)))
    others = draw(st.lists(hashes, unique=True, max_size=3))
    return Snapshot(
        target=target,
        identity=IDENTITY,
        limits=Limits(5 * MINUTE, 7 * DAY, draw(st.integers(1, 3))),
        draft=Draft("beef", DRAWN_NONCE),
        vault_now=NOW + skew,
        ledger=ledger,
        secret=secret,
        versions={each: draw(maybe_hash) for each in read} if may_read else {},
        looks=draw(looks_at()),
        listing=draw(st.none() | listings()),
        served_works=draw(st.sampled_from((None, True, False))) if may_read else None,
        served_by={each: draw(st.sampled_from(SERVERS)) for each in others},
        dead=draw(st.sampled_from((frozenset(), frozenset({"a", "b", "c"})))),
        demand=draw(st.none() | st.none() | demands),
        may_read_values=may_read,
    )


SERVERS = (frozenset({"billing"}), frozenset({"payroll"}), frozenset({"billing", "payroll"}))
