"""What the status page costs for a thousand targets, beside its own template over ready data.

Builds the fleet of the tests in memory and compares a whole answer (reading what the daemon has
noted, sorting, counting, rendering) with the rendering alone. Run by `make bench`; the numbers of
one machine say little, their ratio says something.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from status_calls import best_of

from rotator.web import Answers, Request
from rotator.web.fleet import Views
from rotator.web.metrics import Metrics
from rotator.web.page import Asked, Page
from tests.core.builders import NOW
from tests.fakes.clock import FakeClock
from tests.web.samples import fleet, heard


def main() -> int:
    """Print the table; exit code 1 where a ratio is above the given one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--at-most", type=float, default=2.0, help="the highest ratio allowed")
    chosen = parser.parse_args()
    clock, worst = FakeClock(NOW), 0.0
    recorder = heard(clock)
    print(f"{chosen.targets} targets, best of {chosen.runs}")
    print(
        f"{'':14}  {'template ms':>11}  {'page ms':>8}  {'ratio':>5}  {'kB':>5}  {'scrape ms':>9}"
    )
    for name, bad in (("all in order", 0), ("all wrong", chosen.targets)):
        sample = fleet(chosen.targets, bad=bad, busy=True)
        answers = Answers(sample, recorder, clock, listen_host="localhost", page=True)
        request = Request("GET", "/", "", "localhost")
        size = len(answers(request).body)
        page = Page(sample, recorder, Views(), clock)
        ready = page.content(Asked())
        template = best_of(chosen.runs, lambda page=page, ready=ready: page.render(ready))
        whole = best_of(chosen.runs, lambda answers=answers, request=request: answers(request))
        metrics = Metrics(sample, recorder, Views(), clock)
        scrape = best_of(5, metrics.text)
        ratio = whole / template
        worst = max(worst, ratio)
        print(
            f"{name:14}  {template * 1000:11.2f}  {whole * 1000:8.2f}  {ratio:5.2f}"
            f"  {size / 1000:5.0f}  {scrape * 1000:9.1f}"
        )
    return int(worst > chosen.at_most)


if __name__ == "__main__":
    sys.exit(main())
