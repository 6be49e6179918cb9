"""``vault-policy``: the least that Vault must allow, for a configuration, as a policy to write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from rotator.adapters.vault import Place
from rotator.cli.common import pass_session
from rotator.cli.output import document, say
from rotator.cli.root import Session
from rotator.config import Config
from rotator.config.text import mount as as_mount
from rotator.errors import ConfigurationError
from rotator.wiring.rights import Right, needed


@click.command("vault-policy", short_help="Print the least Vault policy for the configuration.")
@click.option("--read-only", is_flag=True, help="Only what `status` and `plan` need.")
@click.option(
    "--mount",
    "mounts",
    multiple=True,
    metavar="MOUNT",
    help="A KV engine whose mount has a slash in its name, as in team/kv. May be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the policy in Vault's JSON form.")
@pass_session
def vault_policy(
    session: Session, *, read_only: bool, mounts: tuple[str, ...], as_json: bool
) -> None:
    """Print the least Vault policy for the configuration. Nothing is sent, and no secret is read.

    Each path stands there by its name, without a wildcard, so the policy is written anew when a
    target is added. What consumers need, to read their own secret, is no part of it.

    \b
    Examples:
      rotator vault-policy | vault policy write rotator -
      rotator vault-policy --json > rotator-policy.json
      rotator vault-policy --read-only    for a token that only looks
      rotator vault-policy --mount team/kv
    """  # noqa: D301 - click's mark, not an escape
    config = session.config(logs="critical")
    rights = needed(config, _places(config, mounts), read_only=read_only)
    _refuse_templates(rights)
    if as_json:
        paths = {right.path: {"capabilities": list(right.capabilities)} for right in rights}
        document({"path": paths})
        return
    for line in _lines(config, rights, read_only=read_only):
        say(line)


class _Places:
    """Where mounts end: at the first slash, unless the command line names a longer one."""

    def __init__(self, mounts: Iterable[str]) -> None:
        self.unused = set(mounts)
        self._mounts = sorted(self.unused, key=len, reverse=True)

    def __call__(self, path: str) -> Place:
        for mount in self._mounts:
            if path.startswith(f"{mount}/"):
                self.unused.discard(mount)
                return Place(mount, path[len(mount) + 1 :])
        first, _, rest = path.partition("/")
        return Place(first, rest)


def _places(config: Config, mounts: tuple[str, ...]) -> _Places:
    """Return where mounts end, after a check that each one named is of use."""
    try:
        places = _Places([as_mount(mount) for mount in mounts])
    except ValueError as error:
        raise ConfigurationError((f"--mount: {error}",)) from None
    needed(config, places)
    if places.unused:
        told = ", ".join(sorted(places.unused))
        raise ConfigurationError((f"--mount: no path of the configuration lies in {told}",))
    return places


def _refuse_templates(rights: Iterable[Right]) -> None:
    """Refuse a path that Vault would read as a template and not as it stands."""
    problems = tuple(
        f"{', '.join(right.purposes)}: {right.path}: Vault takes {{{{ and ${{ in a policy for a "
        "template: choose a path without them"
        for right in rights
        if "{{" in right.path or "${" in right.path
    )
    if problems:
        raise ConfigurationError(problems)


def _lines(config: Config, rights: tuple[Right, ...], *, read_only: bool) -> Iterator[str]:
    what = "`rotator status` and `rotator plan` need" if read_only else "rotator needs"
    yield f"# The least that {what} in Vault, for {config.source}."
    if config.vault.namespace is not None:
        yield f"# It belongs into the namespace {config.vault.namespace}."
    shown: tuple[str, ...] = ()
    for right in rights:
        if right.purposes != shown:
            yield f"# {', '.join(right.purposes)}"
        shown = right.purposes
        rest = ", ".join(f'"{capability}"' for capability in right.capabilities)
        path = right.path.replace("\\", "\\\\").replace('"', '\\"')
        yield f'path "{path}" {{ capabilities = [{rest}] }}'
