"""``check``: is everything set up? It changes nothing, and says for each failure what to do."""

from __future__ import annotations

import click

from rotator.cli import exits
from rotator.cli.checks import Result, service_checks
from rotator.cli.common import pass_session, services_for
from rotator.cli.output import counted, document, say
from rotator.cli.root import Session


@click.command(short_help="Try the configuration, both services and our rights in Vault.")
@click.option("--offline", is_flag=True, help="The configuration file alone; nothing is sent.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@pass_session
def check(session: Session, *, offline: bool, as_json: bool) -> None:
    """Check the configuration, and reachability and rights of both services. Changes nothing.

    Below each check that fails stands what to do. Exit code: 0 nothing failed; 1 a check
    failed; 2 the configuration cannot be used; 3 only the management key is refused.

    \b
    Examples:
      rotator check
      rotator check --offline            in CI, before a change is rolled out
    """  # noqa: D301 - click's mark, not an escape
    config = session.config(logs="critical")
    count = len(config.targets)
    results = [Result("configuration", True, f"{config.source}: {counted(count, 'target')}")]
    results += [Result("configuration", True, each, warning=True) for each in config.warnings]
    if not offline:
        with services_for(config, "check") as services:
            results += service_checks(services)
    if as_json:
        document({"checks": [each.to_json() for each in results]})
    else:
        for each in results:
            _tell(each)
    failed = [each for each in results if not each.ok]
    code = exits.DONE
    if failed:
        attention = all(each.attention for each in failed)
        code = exits.ATTENTION if attention else exits.FAILURE
    click.get_current_context().exit(code)


def _tell(result: Result) -> None:
    """Print one check, and below it what to do where it failed."""
    mark = "FAIL" if not result.ok else "warn" if result.warning else "ok"
    say(f"{mark:4}  {result.name}: {result.detail}")
    if result.hint:
        say(f"      -> {result.hint}")
