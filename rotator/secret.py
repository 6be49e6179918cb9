"""The only two types that hold plaintext: one secret, and the fields of one Vault secret.

Both print as a mask, cannot be compared, hashed, copied or pickled, and give the
plaintext up only through a method whose name is easy to search for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

MASK = "***"


class _Guarded:
    """What both types refuse to do."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Print a mask, never the value."""
        return f"{type(self).__name__}({MASK})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Print a mask, whatever the format asks for."""
        return repr(self)

    def __eq__(self, other: object) -> bool:
        """Refuse: compare digests instead, so that no timing or test output leaks a value."""
        raise TypeError(f"{type(self).__name__} cannot be compared; compare its digest")

    def __hash__(self) -> int:
        """Refuse: a secret is no key of a mapping."""
        raise TypeError(f"{type(self).__name__} cannot be hashed")

    def __reduce__(self) -> NoReturn:
        """Refuse pickling and copying."""
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse pickling and copying."""
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied")


class Secret(_Guarded):
    """One plaintext: a key, a token, a password."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Wrap a plaintext."""
        self._value = value

    def reveal(self) -> str:
        """Return the plaintext; call this only where it is handed to a service."""
        return self._value

    def sha256(self) -> str:
        """Return the SHA-256 of the UTF-8 plaintext as 64 lower-case hex digits.

        This is how OpenRouter computes a key's ``hash`` (its OAuth guide has clients
        compute the same digest to link to a key's settings). A lone surrogate, which JSON
        can carry and UTF-8 cannot, is no key's and only has to give some digest.
        """
        return hashlib.sha256(self._value.encode("utf-8", "surrogatepass")).hexdigest()


class SecretFields(_Guarded):
    """All fields of one version of a Vault secret; other people's fields are in it too."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        """Wrap a copy of the fields (JSON values)."""
        self._fields = dict(fields)

    def reveal(self) -> dict[str, Any]:
        """Return a copy of the plaintext fields; call this only where they are written to Vault."""
        return dict(self._fields)

    def names(self) -> Iterator[str]:
        """Iterate over the names of the fields, which are not secret."""
        return iter(self._fields)

    def text(self, field: str) -> Secret | None:
        """Return one field as a secret, or None where it is absent or not a string."""
        value = self._fields.get(field)
        return Secret(value) if isinstance(value, str) else None

    def has(self, field: str) -> bool:
        """Tell whether the field is there at all, string or not (a JSON null counts as absent)."""
        return self._fields.get(field) is not None

    def with_text(self, field: str, value: Secret) -> SecretFields:
        """Return a copy in which one field holds the given value and all others stay."""
        return SecretFields({**self._fields, field: value.reveal()})

    def same_as(self, other: SecretFields) -> bool:
        """Tell whether both hold the same fields and values."""
        return bool(self._fields == other._fields)
