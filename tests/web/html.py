"""What a page holds, by the standard library's parser: elements with their attributes and text."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "input", "rect", "line"}


@dataclass(slots=True)
class Element:
    """One element.

    Attributes:
        tag: its name.
        attributes: by name.
        parts: all text inside, as it came; `text` has it in one line.
        closed: whether its end was met.
    """

    tag: str
    attributes: dict[str, str]
    parts: list[str] = field(default_factory=list)
    closed: bool = False

    @property
    def text(self) -> str:
        return " ".join("".join(self.parts).split())

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())


@dataclass
class Page(HTMLParser):
    """A parsed page."""

    source: str
    elements: list[Element] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []
        self.feed(self.source)
        self.close()
        self.mistakes += [f"<{each.tag}> is not closed" for each in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)
        for each in self._open:
            each.parts.append(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1].tag != tag:
            self.mistakes.append(f"</{tag}> closes nothing that is open")
            return
        self._open.pop().closed = True

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.parts.append(data)

    def all(self, tag: str, name: str = "") -> list[Element]:
        """Every element of a tag, with a class where one is given."""
        return [e for e in self.elements if e.tag == tag and (not name or name in e.classes)]

    def one(self, tag: str, name: str = "") -> Element:
        """The one element of a tag."""
        (found,) = self.all(tag, name)
        return found
