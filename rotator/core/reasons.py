"""Why something is done, or why it is not: a closed set of stable codes.

The same codes stand in plans, ledgers, audit events, logs and ``--json`` output.
`MEANING` holds one sentence for each; ``docs/reasons.md`` is checked against it.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A stable code; its meaning is `MEANING[reason]`."""

    # Why a key is replaced.
    FIRST_KEY = "first_key"
    EVERY = "every"
    CRON = "cron"
    MAX_AGE = "max_age"
    ADOPTED = "adopted"
    REQUESTED = "requested"
    COMPROMISED = "compromised"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    GONE = "gone"
    DISABLED = "disabled"
    PUT_BACK_COMPROMISED = "put_back_compromised"
    OVERWRITE_FOREIGN = "overwrite_foreign"
    # Why a key is retiring.
    SUPERSEDED = "superseded"
    PUT_ASIDE = "put_aside"
    WITHDRAWN = "withdrawn"
    FOREIGN_REPLACED = "foreign_replaced"
    ORPHANED = "orphaned"
    MAYBE_SERVED = "maybe_served"
    NEVER_SERVED = "never_served"
    RETIRED = "retired"
    LEFT_BEHIND = "left_behind"
    # Why a ledger is changed or a claim is settled.
    FIRST_SEEN = "first_seen"
    VALUE_MOVED = "value_moved"
    PUT_BACK = "put_back"
    MOVED = "moved"
    DRAINED = "drained"
    DEADLINE = "deadline"
    STILL_USED = "still_used"
    QUARANTINE_OVER = "quarantine_over"
    CLAIM_EXPIRED = "claim_expired"
    DISABLED_BY_US = "disabled_by_us"
    ROLLED_BACK = "rolled_back"
    FAILURE_OVER = "failure_over"
    # Why nothing is done.
    NOT_DUE = "not_due"
    LEDGER_UNREADABLE = "ledger_unreadable"
    LEDGER_NEWER = "ledger_newer"
    CLAIMED = "claimed"
    FOREIGN_VALUE = "foreign_value"
    SERVED_TWICE = "served_twice"
    HELD = "held"
    CONTESTED = "contested"
    DISABLED_BY_HAND = "disabled_by_hand"
    WRONG_ACCOUNT = "wrong_account"
    TOO_MANY_DEAD = "too_many_dead"
    WORKSPACE_UNKNOWN = "workspace_unknown"
    CLOCKS_DISAGREE = "clocks_disagree"
    BLOCKED = "blocked"
    ENABLED_BY_HAND = "enabled_by_hand"
    BACKING_OFF = "backing_off"
    CHANGED_NOT_READ = "changed_not_read"
    NO_LIVE_VERSION = "no_live_version"
    LIMIT_UNKNOWN = "limit_unknown"
    NO_OLDER_KEY = "no_older_key"
    DELETE_CLAIMED = "delete_claimed"
    VALUE_GONE = "value_gone"
    OLD_KEY_GONE = "old_key_gone"
    NOTHING_TO_ADOPT = "nothing_to_adopt"
    # What failed.
    MINT_REFUSED = "mint_refused"
    MINT_UNKNOWN = "mint_unknown"
    NOT_AS_ORDERED = "not_as_ordered"
    NEW_KEY_REFUSED = "new_key_refused"
    OLD_KEY_REFUSED = "old_key_refused"
    OUTAGE = "outage"
    FIELD_CHANGED = "field_changed"
    PUBLISH_UNKNOWN = "publish_unknown"
    STILL_SERVED = "still_served"
    READ_STALE = "read_stale"
    CLAIM_RUNNING_OUT = "claim_running_out"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    UNAUTHORISED = "unauthorised"
    UNKNOWN_OUTCOME = "unknown_outcome"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    INDEX_EMPTY = "index_empty"
    DEFECT = "defect"
    PAUSED = "paused"
    STOPPING = "stopping"
    STANDING_BY = "standing_by"
    # What became of a request to the process that acts.
    TIMED_OUT = "timed_out"
    WITHDRAWN_REQUEST = "withdrawn_request"
    UNANSWERED = "unanswered"
    NO_LEDGER = "no_ledger"


MEANING: dict[Reason, str] = {
    Reason.FIRST_KEY: "The target's field holds no value yet, so a first key is made for it.",
    Reason.EVERY: "The served key has reached the age that the policy's `every` allows.",
    Reason.CRON: "The policy's cron time has come.",
    Reason.MAX_AGE: "The served key is older than the policy's `max_age`.",
    Reason.ADOPTED: "The key was overdue when it was first seen; its turn has come.",
    Reason.REQUESTED: "An operator asked for the rotation.",
    Reason.COMPROMISED: "An operator declared the keys of the target compromised.",
    Reason.EXPIRING: "The served key expires before a rotation would have drained it.",
    Reason.EXPIRED: "The served key has expired at OpenRouter.",
    Reason.GONE: "The served key no longer exists at OpenRouter.",
    Reason.DISABLED: "The served key was disabled, and the policy says to replace it then.",
    Reason.PUT_BACK_COMPROMISED: "A key that was called compromised was put back; it is replaced.",
    Reason.OVERWRITE_FOREIGN: "An operator allowed the foreign value to be overwritten.",
    Reason.SUPERSEDED: "A newer key has taken its place.",
    Reason.PUT_ASIDE: "An older key was put back in its place.",
    Reason.WITHDRAWN: "The field or the secret that served it was removed.",
    Reason.FOREIGN_REPLACED: "A value that no key of the account explains took its place.",
    Reason.ORPHANED: "It is marked as ours, but no ledger knew it.",
    Reason.MAYBE_SERVED: "It may have been served for a while; nobody can tell any more.",
    Reason.NEVER_SERVED: "It can never have been served, so it goes without a grace period.",
    Reason.RETIRED: "An operator retired it by hand.",
    Reason.LEFT_BEHIND: "It is served at a path that the configuration no longer names.",
    Reason.FIRST_SEEN: "The target is seen for the first time.",
    Reason.VALUE_MOVED: "The secret has a new version that this program did not write.",
    Reason.PUT_BACK: "A known key's value was put back by hand.",
    Reason.MOVED: "The configuration names another path or field for the target.",
    Reason.DRAINED: "The old key has been quiet for long enough.",
    Reason.DEADLINE: "The old key is still in use, and the policy's deadline has passed.",
    Reason.STILL_USED: "The old key is still in use, or there is no proof that it is not.",
    Reason.QUARANTINE_OVER: "The quarantine of the disabled key is over.",
    Reason.CLAIM_EXPIRED: "A process died or stalled in the middle of a change.",
    Reason.DISABLED_BY_US: "The served key had been disabled by this program before it was served.",
    Reason.ROLLED_BACK: "The previous key is served again.",
    Reason.FAILURE_OVER: "What failed before has succeeded, or is no longer called for.",
    Reason.NOT_DUE: "There is nothing to do yet.",
    Reason.LEDGER_UNREADABLE: "The target's ledger cannot be understood; it is left as it is.",
    Reason.LEDGER_NEWER: "The target's ledger was written by a newer version of this program.",
    Reason.CLAIMED: "Another process is changing the target at this moment.",
    Reason.FOREIGN_VALUE: "The field holds a value that no key of the account explains.",
    Reason.SERVED_TWICE: "Another target serves the same key; neither is rotated.",
    Reason.HELD: "An operator holds the target.",
    Reason.CONTESTED: "Something else keeps writing the field; the target waits for a release.",
    Reason.DISABLED_BY_HAND: "A person disabled the served key, and may have meant it.",
    Reason.WRONG_ACCOUNT: "The served key works, yet the management key does not know it.",
    Reason.TOO_MANY_DEAD: "So many served keys are dead that something larger must be wrong.",
    Reason.WORKSPACE_UNKNOWN: (
        "OpenRouter knows no such workspace as the target names; keys in it are not listed."
    ),
    Reason.CLOCKS_DISAGREE: "This machine's clock and Vault's differ by more than five minutes.",
    Reason.BLOCKED: "An old key is still in use after the deadline, and is kept.",
    Reason.ENABLED_BY_HAND: "A person enabled a key in its quarantine; it is not deleted.",
    Reason.BACKING_OFF: "The last attempt failed; the next one waits its time.",
    Reason.CHANGED_NOT_READ: "The secret has a new version whose value was not read.",
    Reason.NO_LIVE_VERSION: "The secret has no readable version, so no old key is disabled.",
    Reason.LIMIT_UNKNOWN: "The old key's spending limit cannot be told, so no key is made.",
    Reason.NO_OLDER_KEY: "The target has no such older key to go back to.",
    Reason.DELETE_CLAIMED: "The old key was about to be deleted once, which may still take effect.",
    Reason.VALUE_GONE: "No version of the secret that can be read holds the old key's value.",
    Reason.OLD_KEY_GONE: "The old key has expired, or no longer exists at OpenRouter.",
    Reason.NOTHING_TO_ADOPT: "The field holds no value, so there is no key to be taken over.",
    Reason.MINT_REFUSED: "OpenRouter refused to create a key.",
    Reason.MINT_UNKNOWN: "No answer tells whether a key was created; it is settled later.",
    Reason.NOT_AS_ORDERED: "The new key is not what was asked for.",
    Reason.NEW_KEY_REFUSED: "OpenRouter does not accept the new key, while the old one works.",
    Reason.OLD_KEY_REFUSED: "OpenRouter does not accept the old key, so it is not served again.",
    Reason.OUTAGE: "OpenRouter accepts neither the new key nor the old one.",
    Reason.FIELD_CHANGED: "Somebody else changed the target's field meanwhile; that stays.",
    Reason.PUBLISH_UNKNOWN: "No answer tells whether the new key was published.",
    Reason.STILL_SERVED: "The key is served, so it is neither disabled nor deleted.",
    Reason.READ_STALE: "The secret changed after the plan was made.",
    Reason.CLAIM_RUNNING_OUT: "The claim on the target would run out before the step is done.",
    Reason.CONFLICT: "Another process changed the target's ledger meanwhile.",
    Reason.UNAVAILABLE: "A service did not answer, or answered that it cannot right now.",
    Reason.REFUSED: "A service refused the call.",
    Reason.UNAUTHORISED: "A service refuses this program's own credential.",
    Reason.UNKNOWN_OUTCOME: "The answer to a call was lost; what it did is settled later.",
    Reason.AUDIT_UNAVAILABLE: "The audit trail cannot be written, so nothing acts.",
    Reason.INDEX_EMPTY: "This process has not yet looked at which keys the other targets serve.",
    Reason.DEFECT: "A defect of this program broke the change off: please report it.",
    Reason.PAUSED: "Writes to OpenRouter are paused or queued; it is this target's turn later.",
    Reason.STOPPING: "The process was asked to stop.",
    Reason.STANDING_BY: "The process no longer holds the lease; another one does the work.",
    Reason.TIMED_OUT: "It was not done in time, and nobody waits for it any longer.",
    Reason.WITHDRAWN_REQUEST: "Whoever asked for it took the request back.",
    Reason.UNANSWERED: "The request is gone from the ledger, and its answer cannot be told.",
    Reason.NO_LEDGER: "The target has no ledger yet in which a request could be written.",
}
"""One sentence of meaning for each reason."""
