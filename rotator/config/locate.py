"""Which line of a TOML file a key stands on, which `tomllib` does not say.

The scanner follows a document that `tomllib` has already accepted, so it need not
judge anything; it only keeps count of lines while it walks tables, arrays of tables,
inline tables, arrays and strings of all kinds.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from contextlib import suppress

Path = tuple[str | int, ...]
"""Keys and indexes from the top of the document, as in ``("target", 2, "name")``."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]*")
_DEEPEST = 100
# Parts of a key; each of them is noted with all those before it.

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")


def locate(document: str) -> Mapping[Path, int]:
    """Return the line, counted from 1, of each table, key and array element of a document.

    A table's line is that of its first header, or of the first dotted key that makes
    it. Should the scanner lose its way, it returns what it has found up to there.
    """
    scanner = _Scanner(document.replace("\r\n", "\n"))
    with suppress(IndexError, ValueError, RecursionError):
        scanner.document()
    return scanner.lines


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """Return the line of a path, or of the nearest thing around it that has one."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


class _Scanner:
    """One walk over one document."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._elements: dict[Path, int] = {}  # how many tables each array of tables has so far

    def document(self) -> None:
        """Walk to the end."""
        table: Path = ()
        while self._next():
            if self.text.startswith("[[", self.at):
                table = self._header("[[", "]]")
            elif self.text[self.at] == "[":
                table = self._header("[", "]")
            else:
                self._pair(table)

    def _next(self) -> str:
        """Skip blanks, newlines and comments; return the next character, or an empty text."""
        found = _BLANK.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.text[self.at : self.at + 1]

    def _take(self, token: str) -> None:
        self._next()
        if not self.text.startswith(token, self.at):
            raise ValueError(token)
        self.at += len(token)

    def _note(self, path: Path, at: int) -> None:
        self.lines.setdefault(path, bisect_right(self._starts, at))

    def _header(self, opening: str, closing: str) -> Path:
        at = self.at
        self._take(opening)
        keys = self._keys()
        self._take(closing)
        path: Path = ()
        for depth, key in enumerate(keys):
            path += (key,)
            self._note(path, at)
            if opening == "[[" and depth == len(keys) - 1:
                self._elements[path] = self._elements.get(path, 0) + 1
            if path in self._elements:
                path += (self._elements[path] - 1,)
                self._note(path, at)
        return path

    def _pair(self, table: Path) -> None:
        self._next()
        at = self.at
        path = table
        for key in self._keys():
            path += (key,)
            self._note(path, at)
        self._take("=")
        self._value(path)

    def _keys(self) -> list[str]:
        keys = [self._key()]
        while self._next() == ".":
            self.at += 1
            if len(keys) == _DEEPEST:
                raise ValueError("too deep")
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        quote = self._next()
        if quote and quote in "\"'":
            start = self.at
            self._string()
            return str(tomllib.loads(f"key = {self.text[start : self.at]}")["key"])
        found = _BARE_KEY.match(self.text, self.at)
        if not found:
            raise ValueError("no key")
        self.at = found.end()
        return found.group()

    def _value(self, path: Path) -> None:
        first = self._next()
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        elif first in {'"', "'"}:
            self._string()
        else:
            found = _BARE_VALUE.match(self.text, self.at)
            self.at = found.end() if found else self.at

    def _array(self, path: Path) -> None:
        self._take("[")
        index = 0
        while self._next() != "]":
            start = self.at
            self._note((*path, index), start)
            self._value((*path, index))
            if self.at == start:
                raise ValueError("no value")
            index += 1
            if self._next() == ",":
                self.at += 1
        self._take("]")

    def _inline_table(self, path: Path) -> None:
        self._take("{")
        while self._next() != "}":
            self._pair(path)
            if self._next() == ",":
                self.at += 1
        self._take("}")

    def _string(self) -> None:
        quote = self.text[self.at]
        closing = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(closing)
        while not self.text.startswith(closing, self.at):
            escaped = quote == '"' and self.text[self.at] == "\\"
            self.at += 2 if escaped else 1
            if self.at > len(self.text):
                raise ValueError("no end")
        self.at += len(closing)
        while len(closing) == 3 and self.text.startswith(quote, self.at):
            self.at += 1  # a multi-line string may end in one or two quotes of its own
