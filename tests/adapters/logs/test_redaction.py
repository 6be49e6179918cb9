"""What looks like a credential is masked, and nothing that an operator needs."""

from __future__ import annotations

import hashlib
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.redaction import redact, redact_bytes

KEY = "sk-or-v1-" + "5e" * 32
HVS = "hvs.CAESIJ8-example_token-0123456789abcdef"
LEGACY = "s.Zx81QmNvb3kGp0aRt5LwYc2d"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb3RhdG9yIn0.c2lnbmF0dXJl"

CREDENTIALS = [KEY, HVS, "hvb.AAAAAQJexample01", "hvr.example0123", LEGACY, JWT]


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize(
    "frame", ["{}", "a {} b", '{{"a": "{}"}}', "({})", "é{}é", "x={}\n", "\t{}"]
)
def test_a_credential_is_masked_wherever_it_stands(credential: str, frame: str) -> None:
    text = frame.format(credential)
    assert credential[8:] not in redact(text)
    assert credential.encode() not in redact_bytes(text.encode())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abcDEF123", "Authorization: ***"),
        ("got bearer abcDEF123456 back", "got bearer *** back"),
        ("{'X-Vault-Token': 'f81d4fae-7dec'}", "{'X-Vault-Token': '***'}"),
        ("[(b'Authorization', b'Basic dXNlcjpwYXNz')]", "[(b'Authorization', b'***')]"),
        ('{"secret_id": "6a174c20-f6de-a53c"}', '{"secret_id": "***"}'),
        ("proxy http://ana:pa55word@proxy:3128/", "proxy http://***@proxy:3128/"),
    ],
)
def test_what_a_name_or_a_place_gives_away_is_masked(text: str, masked: str) -> None:
    assert redact(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        hashlib.sha256(b"key").hexdigest(),
        f"key {'0a' * 32} is disabled",
        "openrouter.management_key: no such file",
        "secret/apps/billing#OPENROUTER_API_KEY",
        "https://vault.example.com:8200/v1/secret/data/apps/billing",
        "billing-apis.example.com, targets.json, hvs.",
        "unauthorised: authorization failed",
    ],
)
def test_what_an_operator_needs_stays_readable(text: str) -> None:
    assert redact(text) == text
    assert redact_bytes(text.encode()) == text.encode()


@given(st.text(alphabet=string.printable), st.sampled_from(CREDENTIALS), st.text())
def test_json_stays_json_when_its_bytes_are_masked(
    before: str, credential: str, after: str
) -> None:
    document = json.dumps({"a": [before + " " + credential, None, 1.5], after: True}).encode()
    masked = redact_bytes(document)
    assert (
        json.loads(masked).keys() == json.loads(document).keys() or credential.encode() in document
    )
    assert credential.encode() not in masked


@given(st.text(), st.sampled_from(CREDENTIALS), st.text())
def test_masking_twice_is_masking_once(before: str, credential: str, after: str) -> None:
    once = redact(f"{before}{credential} {after}")
    assert redact(once) == once
