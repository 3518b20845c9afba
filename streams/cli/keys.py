"""`attestream keys`: make a signing key, and print what verifiers need to trust it."""

import asyncio
import os
from pathlib import Path

import click

from streams.audit.note import Vkey
from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.errors import SettingsError
from streams.keys.local import write_new_key
from streams.ports import Signer
from streams.settings import load_settings

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """Signing keys: make one, print its vkey."""


@keys.command()
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="signing.pem",
    show_default=True,
    help="Where the private key goes: a new file, readable by its owner only.",
)
@exit_on_failure
def generate(name: str, out: Path) -> None:
    """Make an Ed25519 key for the logs whose origins begin with NAME; prints its vkey.

    Example: attestream keys generate audit.example.com/prod --out signing.pem > keys.txt
    """
    try:
        signer = write_new_key(out)
    except FileExistsError:
        raise SettingsError([f"{out} exists already: a key is never overwritten"]) from None
    click.echo(vkey_of(signer, name))
    click.echo(f"private key written to {out}; verifiers need only the line above", err=True)


@keys.command()
@click.option("--name", help="Key name. Default: ATTESTREAM_ORIGIN, or the embedded engine's.")
@in_directory
@exit_on_failure
def show(name: str | None) -> None:
    """Print the vkey of the key that signs: in AWS KMS, behind a proxy, or a local one.

    Example: attestream keys show > keys.txt
    """
    from streams.app import embedded_base, own_keys  # noqa: PLC0415  # needs no engine to start

    settings = load_settings(os.environ)
    base = name or settings.origin or embedded_base(settings)
    for vkey in asyncio.run(own_keys(settings, base)).vkeys:
        click.echo(vkey.render())


def vkey_of(signer: Signer, name: str) -> str:
    """The C2SP vkey of a signer's public key under a name."""
    return Vkey(name, signer.algorithm, signer.public_key).render()
