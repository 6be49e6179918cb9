"""The status page as HTML: what it says, what it leaves out, and that nothing in it can act."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.core.plan import plan
from rotator.core.reasons import MEANING, Reason
from rotator.core.steps import Finding
from rotator.core.target import SecretRef
from rotator.errors import AuditUnavailable
from rotator.web import Answers, Request, Role, Vitals
from rotator.web.page import PER_PAGE, style, style_name
from tests.core.builders import DAY, HOUR, MINUTE, NOW
from tests.fakes.clock import FakeClock
from tests.web.html import Page
from tests.web.samples import Sample, Sink, fleet, heard, name_of, of, wedged


def answers(sample: Sample, clock: FakeClock, *, page: bool = True) -> Answers:
    return Answers(sample, heard(clock), clock, listen_host="127.0.0.1", page=page)


def shown(sample: Sample, clock: FakeClock, query: str = "") -> Page:
    return asked(answers(sample, clock), query)


def asked(whole: Answers, query: str) -> Page:
    """The page for a query, which must be well-formed."""
    answer = whole(Request("GET", "/", query, "localhost:9464"))
    assert answer.status == 200
    page = Page(answer.body.decode())
    assert page.mistakes == []
    return page


def names(page: Page) -> list[str]:
    """The targets that are listed, as cards and as lines, in order."""
    return [each.text for each in page.all("span", "name") if each.text in NAMES]


def test_what_is_no_text_takes_neither_the_page_nor_the_health_away(clock: FakeClock) -> None:
    sample = fleet(3)
    sample.whole = replace(sample.whole, role=Role.STANDBY, leader="\udc80 <b>")
    assert "\\udc80 <b> acts" in shown(sample, clock).one("h1").text
    sample.life = Vitals("\udc80 is wedged", ready=True)
    answer = answers(sample, clock)(Request("GET", "/healthz"))
    assert (answer.status, answer.body) == (503, b"\\udc80 is wedged\n")


NAMES = {name_of(number) for number in range(1000)}


@pytest.mark.parametrize(
    ("sample", "headline", "tone"),
    [
        (fleet(0), "No target is configured", "wait"),
        (fleet(1), "The one target is in order", "fine"),
        (fleet(30), "All 30 targets are in order", "fine"),
        (fleet(30, busy=True), "No target needs attention", "fine"),
        (fleet(30, bad=1), "1 of 30 targets needs attention", "bad"),
        (fleet(30, bad=3), "3 of 30 targets need attention", "bad"),
        (fleet(1, bad=1), "The one target needs attention", "bad"),
        (fleet(30, bad=30), "All 30 targets need attention", "bad"),
        (fleet(1000, bad=1000), "All 1,000 targets need attention", "bad"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_sentence_says_how_everything_is(
    sample: Sample, headline: str, tone: str, clock: FakeClock
) -> None:
    page = shown(sample, clock)
    assert page.one("h1").text == headline
    assert tone in page.one("section", "verdict").classes
    assert page.all("title")[0].text.startswith(headline)


def test_targets_that_were_not_looked_at_yet_are_no_problem_and_not_in_order(
    clock: FakeClock,
) -> None:
    sample = fleet(3)
    sample.told.clear()
    page = shown(sample, clock)
    assert page.one("h1").text == "3 of 3 targets are yet to be looked at"
    assert page.all("article") == []


def test_before_vault_answered_the_page_says_that_it_waits_for_it(clock: FakeClock) -> None:
    sample = fleet(3)
    sample.told.clear()
    sample.life = Vitals(None, ready=False)
    page = shown(sample, clock)
    assert page.one("h1").text == "Waiting for Vault"


def test_a_replica_that_stands_by_says_who_acts_and_judges_no_target(clock: FakeClock) -> None:
    sample = fleet(3, bad=3)
    sample.whole = replace(sample.whole, role=Role.STANDBY, leader="rotator-b")
    page = shown(sample, clock)
    assert page.one("h1").text == "This replica stands by: rotator-b acts"
    assert names(page) == []


def test_a_replica_that_cannot_tell_who_acts_shows_what_it_knew_and_says_so(
    clock: FakeClock,
) -> None:
    sample = fleet(3, bad=1)
    sample.whole = replace(sample.whole, role=Role.UNKNOWN)
    page = shown(sample, clock)
    assert page.one("h1").text == "1 of 3 targets needs attention"
    assert page.one("section", "notice").text.startswith("No replica is known to act")
    assert len(names(page)) == 3


def test_what_needs_a_person_comes_before_all_else_with_its_reason(clock: FakeClock) -> None:
    page = shown(fleet(30, bad=3), clock)
    cards = page.all("article")
    assert {name_of(0), name_of(1), name_of(2)} == set(names(page)[:3])
    text = " ".join(card.text for card in cards)
    assert MEANING[Reason.FOREIGN_VALUE] in text
    assert "14 times in a row, for 2h. Tried again in 9m" in text
    assert MEANING[Reason.BLOCKED] in text
    lines = page.all("li", "row")
    assert len(lines) == 27
    assert all("fine" in line.classes for line in lines)


def test_a_key_past_its_greatest_age_is_overdue_as_soon_as_the_clock_says_so(
    clock: FakeClock,
) -> None:
    sample = Sample()
    sample.add(of(5, age=44 * DAY))
    assert "overdue" not in shown(sample, clock).source
    clock.advance(2 * DAY)
    page = shown(sample, clock)
    assert page.one("span", "badge").text == "overdue"
    assert MEANING[Reason.MAX_AGE] in page.one("article").text


def test_a_rotation_that_did_not_come_is_shown_as_late(clock: FakeClock) -> None:
    sample = Sample()
    sample.add(of(5, age=29 * DAY))
    clock.advance(DAY + 3 * HOUR)
    page = shown(sample, clock)
    assert page.one("div", "next").text == "3h late"
    assert len(page.all("rect", "late")) == 1


def test_the_life_of_keys_is_a_line_of_time(clock: FakeClock) -> None:
    sample = Sample()
    sample.add(of(0, age=4 * HOUR))
    page = shown(sample, clock)
    kinds = [
        name
        for rect in page.all("rect")
        for name in rect.classes & {"served", "ahead", "before", "grace", "drain", "quarantine"}
    ]
    assert kinds == ["served", "ahead", "before", "grace"]
    label = page.one("svg", "life").attributes["aria-label"]
    assert label.startswith("served for 4h, next in 30d, old key ")
    assert label.endswith(" grace for 20h")
    for rect in page.all("rect"):
        x = float(rect.attributes.get("x", "0").rstrip("%"))
        width = float(rect.attributes["width"].rstrip("%"))
        assert 0 <= x <= 100
        assert x + width <= 100.5


def test_only_a_page_of_a_thousand_targets_is_shown_and_the_rest_is_linked(
    clock: FakeClock,
) -> None:
    sample = fleet(1000)
    first = shown(sample, clock)
    assert len(names(first)) == PER_PAGE
    assert "1 to 50 of 1,000" in first.one("nav", "pager").text
    (link,) = [a for a in first.all("a") if a.attributes.get("rel") == "next"]
    assert link.attributes["href"] == "/?page=2"
    seen: list[str] = []
    whole = answers(sample, clock)
    for number in range(1, 21):
        seen += names(asked(whole, f"page={number}"))
    assert sorted(seen) == sorted(NAMES)
    assert names(shown(sample, clock, "page=99999")) == seen[-PER_PAGE:]


def test_every_target_that_needs_a_person_can_be_reached_and_causes_are_counted(
    clock: FakeClock,
) -> None:
    sample = fleet(1000, bad=1000)
    seen: list[str] = []
    whole = answers(sample, clock)
    for number in range(1, 21):
        seen += names(asked(whole, f"bad={number}"))
    assert sorted(seen) == sorted(NAMES)
    causes = shown(sample, clock).one("ul", "causes")
    assert f"286 {MEANING[Reason.UNAVAILABLE]} unavailable" in causes.text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=foreign", [name_of(0)]),
        ("state=failing", [name_of(1)]),
        ("why=blocked", [name_of(2)]),
        ("q=billing-chat", ["billing-chat"]),
        ("q=APPS/billing/chat", ["billing-chat"]),
        ("q=nothing+like+this", []),
    ],
)
def test_a_query_chooses_targets(query: str, expected: list[str], clock: FakeClock) -> None:
    page = shown(fleet(30, bad=3), clock, query)
    assert names(page) == expected
    assert page.one("h1").text == "3 of 30 targets need attention"


@pytest.mark.parametrize(
    "query",
    ["state=nonsense", "why=nonsense", "page=-1", "page=1e9", "page=٣", "bad=" + "9" * 40, "%ff=%00"],
)  # fmt: skip
def test_what_makes_no_sense_in_a_query_is_left_out(query: str, clock: FakeClock) -> None:
    assert names(shown(fleet(30, bad=3), clock, query)) == names(shown(fleet(30, bad=3), clock))


def test_a_query_with_too_many_parameters_is_refused(clock: FakeClock) -> None:
    query = "&".join(f"a{number}=1" for number in range(11))
    answer = answers(fleet(1), clock)(Request("GET", "/", query, "localhost"))
    assert answer.status == 400


def test_what_stops_the_whole_process_is_said_first(clock: FakeClock) -> None:
    sample = fleet(3)
    sample.whole = replace(
        sample.whole,
        key_refused="openrouter: 401",
        reload_error="unknown key polcy",
        resync_error="openrouter: 503",
        busy=(wedged(),),
        key_expires_at=NOW + 5 * DAY,
    )
    recorder = heard(clock)
    sink = Sink()
    sink.broken = AuditUnavailable("no space left")
    with pytest.raises(AuditUnavailable):
        recorder.before(sink).append(None)  # type: ignore[arg-type]
    whole = Answers(sample, recorder, clock, listen_host="127.0.0.1", page=True)
    page = Page(whole(Request("GET", "/", "", "localhost")).body.decode())
    titles = [each.text.split(".")[0] for each in page.all("section", "notice")]
    assert [title[:30] for title in titles] == [
        "OpenRouter refuses the managem",
        "The audit trail cannot be writ",
        "A thread is wedged billing-api",
        "The configuration file was ref",
        "The account could not be compa",
        "The management key expires in ",
    ]


def test_where_nothing_can_be_changed_the_page_is_not_green(clock: FakeClock) -> None:
    sample = fleet(3)
    sample.whole = replace(sample.whole, key_refused="openrouter: 401")
    page = shown(sample, clock)
    assert page.one("h1").text == "OpenRouter refuses the management key"
    assert "bad" in page.one("section", "verdict").classes


def test_a_rotation_that_is_late_is_not_announced_as_the_next(clock: FakeClock) -> None:
    sample = Sample()
    sample.add(of(5, age=31 * DAY))
    sample.add(of(6, age=20 * DAY))
    assert f"Next rotation: {name_of(6)} in 10d." in shown(sample, clock).source


def test_whatever_stands_in_names_and_messages_is_text(clock: FakeClock) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=y>'
    sample = Sample()
    snapshot = of(1)
    snapshot = replace(
        snapshot, target=replace(snapshot.target, secret=SecretRef(f"secret/{evil}", evil))
    )
    found = Finding(Reason.WRONG_ACCOUNT, evil, attention=True)
    sample.note(snapshot, replace(plan(snapshot, NOW), findings=(found,)))
    sample.whole = replace(sample.whole, instance=evil, reload_error=evil, leader=evil)
    page = shown(sample, clock, "q=%22%3E%3Cscript%3E")
    assert page.all("script") == []
    page = shown(sample, clock)
    assert page.all("script") == []
    assert len(page.all("img")) == 1
    assert evil in page.one("article").text


def test_no_element_carries_a_script_or_a_style_of_its_own(clock: FakeClock) -> None:
    page = shown(fleet(30, bad=12, busy=True), clock)
    for element in page.elements:
        assert element.tag not in {"script", "style", "iframe", "object", "base"}
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]
        assert "javascript:" not in str(element.attributes)


def test_every_link_of_the_page_leads_to_something_that_is_served(clock: FakeClock) -> None:
    whole = answers(fleet(200, bad=60), clock)
    page = Page(whole(Request("GET", "/", "", "localhost")).body.decode())
    links = {
        each.attributes[name]
        for each in page.elements
        for name in ("href", "src", "action")
        if name in each.attributes
    }
    assert len(links) > 5
    for link in links:
        path, _, query = link.partition("?")
        assert whole(Request("GET", path, query, "localhost")).status == 200, link


def test_hashes_are_shortened_and_no_plaintext_is_there(clock: FakeClock) -> None:
    page = shown(fleet(30, bad=7), clock)
    assert not re.search(r"[0-9a-f]{16}", page.source.replace(style_name(style()), ""))
    assert "sk-or-" not in page.source


def test_the_page_asks_for_itself_again_with_what_was_chosen(clock: FakeClock) -> None:
    page = shown(fleet(3), clock, "state=ok")
    refresh = [m for m in page.all("meta") if m.attributes.get("http-equiv") == "refresh"]
    assert [each.attributes["content"] for each in refresh] == ["30"]


def test_the_last_audit_events_are_shown_the_newest_first(clock: FakeClock) -> None:
    page = shown(fleet(3), clock)
    events = page.one("ol", "events")
    assert events.text.startswith("12:00:00 target.attention found")
    assert events.text.endswith("process.start done run")


def test_what_looks_like_a_credential_in_an_event_is_masked(clock: FakeClock) -> None:
    from rotator.events import Phase, Result, TargetAttention

    recorder = heard(clock)
    recorder.before(Sink()).append(
        TargetAttention(
            phase=Phase.OUTCOME, op="x/y", target="a", result=Result.FOUND,
            detail="got sk-or-v1-0123456789abcdef0123456789abcdef",
        )
    )  # fmt: skip
    assert recorder.state().events[0].text == "got sk-or-***"


def test_the_style_sheet_knows_both_schemes_and_its_name_follows_its_content() -> None:
    sheet = style().decode()
    assert "prefers-color-scheme: dark" in sheet
    assert "url(" not in sheet
    assert style_name(b"a") != style_name(b"b")


def luminance(colour: str) -> float:
    """The relative luminance of a colour (https://www.w3.org/TR/WCAG21/#dfn-relative-luminance)."""
    digits = colour.lstrip("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    parts = [int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_all_text_stands_out_from_what_is_behind_it(scheme: int) -> None:
    roots = re.findall(r":root \{(.*?)\}", style().decode(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", roots[scheme]))
    pairs = [(text, back) for text in ("text", "mute") for back in ("back", "card")]
    pairs += [(tone, f"{tone}-back") for tone in ("bad", "wait", "busy", "fine")]
    pairs += [("text", f"{tone}-back") for tone in ("bad", "wait", "busy", "fine")]
    pairs += [("mute", f"{tone}-back") for tone in ("bad", "wait", "busy", "fine")]
    pairs += [("bad", "card"), ("fine", "card"), ("wait", "card")]
    weak = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


def test_a_report_is_judged_once_and_rows_follow_a_new_one(clock: FakeClock) -> None:
    sample = fleet(2)
    whole = answers(sample, clock)
    request = Request("GET", "/", "", "localhost")
    assert b"in order" in whole(request).body
    sample.unreachable(sample.made[name_of(1)], "vault: no route", NOW + MINUTE)
    assert b"1 of 2 targets needs attention" in whole(request).body
    clock.advance(timedelta(seconds=1))
    assert b"1 of 2 targets needs attention" in whole(request).body
