"""``sandbox``: an OpenRouter and a Vault on this machine, in the foreground."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from rotator.cli.output import warn

SNIPPET = """\
# Save as sandbox.toml, then: rotator --config sandbox.toml run
instance = "sandbox"

[openrouter]
base_url = "{openrouter}"
management_key = {{ env = "SANDBOX_MANAGEMENT_KEY" }}

[vault]
address = "{vault}"
auth = {{ method = "token", token = {{ env = "SANDBOX_VAULT_TOKEN" }} }}
state = "secret/rotator"

[daemon]
heartbeat = "1s"
adopt_over = "0s"

[audit]
path = "{folder}/sandbox-audit.jsonl"

[policy.standard]
every = "1m"
min_age = "1s"
grace = "10s"
drain = {{ quiet_for = "5s", deadline = "30s", then = "disable", evidence = "usage" }}
quarantine = "10s"

[[target]]
name = "billing-api"
secret = "secret/apps/billing"
field = "OPENROUTER_API_KEY"
"""


@click.command(short_help="Serve a simulated OpenRouter and Vault on this machine.")
@click.option("--openrouter-port", type=click.IntRange(0, 65535), default=0, show_default="free")
@click.option("--vault-port", type=click.IntRange(0, 65535), default=0, show_default="free")
def sandbox(*, openrouter_port: int, vault_port: int) -> None:
    """Serve an OpenRouter-compatible and a Vault-compatible API on loopback until Ctrl-C.

    Nothing is kept: the account and all secrets are gone when it ends. Keys and tokens
    that it prints open nothing but itself.

    \b
    Examples:
      rotator sandbox
      rotator sandbox --openrouter-port 8081 --vault-port 8200
    """  # noqa: D301 - click's mark, not an escape
    from rotator.sandbox.server import Sandbox

    try:
        served = Sandbox(openrouter_port=openrouter_port, vault_port=vault_port)
    except OSError as error:
        ports = " or ".join(str(each) for each in (openrouter_port, vault_port) if each)
        warn(f"cannot listen on port {ports or 'any'}: {error.strerror or error}")
        click.get_current_context().exit(1)
    asked = threading.Event()
    with served:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: asked.set())
        click.echo(f"OpenRouter      {served.openrouter_url}")
        click.echo(f"Vault           {served.vault_url}")
        click.echo(f"\nexport SANDBOX_MANAGEMENT_KEY={served.management_key}")
        click.echo(f"export SANDBOX_VAULT_TOKEN={served.vault_token}\n")
        click.echo(
            SNIPPET.format(
                openrouter=served.openrouter_url, vault=served.vault_url, folder=Path.cwd()
            )
        )
        click.echo("Serving until Ctrl-C.", err=True)
        while not asked.wait(1.0):
            pass
