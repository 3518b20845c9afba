"""`attestream keys`: make keys, print what verifiers need, and move trust from one to another."""

import asyncio
import os
from pathlib import Path

import click

from streams.audit.note import MalformedError, Vkey
from streams.audit.operations import KeyAdded, operator_name
from streams.cli.failures import exit_on_failure
from streams.cli.operating import Operating, confirmed, operating, operator_key_option, yes_option
from streams.cli.options import in_directory
from streams.cli.retiring import retire
from streams.errors import SettingsError
from streams.keys.choice import key_folder
from streams.keys.local import new_key_path, write_new_key
from streams.ports import Signer
from streams.settings import load_settings

__all__ = ["keys"]

SENT = "sent; it counts once it is sealed"


@click.group()
def keys() -> None:
    """Keys: make one, print its vkey; add, rotate and retire the keys that sign logs."""


keys.add_command(retire)


@keys.command()
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the private key goes: a new file, readable by its owner only.  "
    "[default: signing.pem, operator.pem]",
)
@click.option("--operator", is_flag=True, help="The key that orders, not one that signs logs.")
@exit_on_failure
def generate(name: str, out: Path | None, *, operator: bool) -> None:
    """Make an Ed25519 key for the logs whose origins begin with NAME; prints its vkey.

    Example: attestream keys generate audit.example.com/prod --out signing.pem > keys.txt
    """
    path = out or Path("operator.pem" if operator else "signing.pem")
    try:
        signer = write_new_key(path)
    except FileExistsError:
        raise SettingsError([f"{path} exists already: a key is never overwritten"]) from None
    click.echo(vkey_of(signer, operator_name(name) if operator else name))
    click.echo(f"private key written to {path}; verifiers need only the line above", err=True)


@keys.command()
@click.option("--name", help="Key name. Default: ATTESTREAM_ORIGIN, or the embedded engine's.")
@in_directory
@exit_on_failure
def show(name: str | None) -> None:
    """Print the vkeys of the keys held here: in AWS KMS, behind a proxy, or local ones.

    Example: attestream keys show > keys.txt
    """
    from streams.app import embedded_base, own_keys  # noqa: PLC0415  # needs no engine to start

    settings = load_settings(os.environ)
    base = name or settings.origin or embedded_base(settings)
    for vkey in asyncio.run(own_keys(settings, base)).vkeys:
        click.echo(vkey.render())


@keys.command()
@click.argument("vkey")
@click.option("--for", "prefix", help="Origins it counts for begin with this. Default: all.")
@operator_key_option
@yes_option
@in_directory
@exit_on_failure
def add(vkey: str, prefix: str | None, operator_key: Path | None, *, yes: bool) -> None:
    """Order that the key VKEY counts: sealers that hold it sign with it, beside those before.

    Example: attestream keys add "$(cat new.vkey)" --operator-key operator.pem
    """

    async def order() -> None:
        async with operating(operator_key) as at:
            await _add(at, _parsed(vkey), prefix, yes=yes)

    asyncio.run(order())


@keys.command()
@operator_key_option
@yes_option
@in_directory
@exit_on_failure
def rotate(operator_key: Path | None, *, yes: bool) -> None:
    """Make a new local key beside those in use, and order that it counts.

    For keys in a directory: the embedded engine's, or one that AUDIT_SIGNING_PRIVATE_KEY names.
    Workers that see the directory take the key up by themselves. A key elsewhere is made there,
    and its vkey given to `keys add`. The key before goes on signing until `keys retire`.

    Example: attestream keys rotate --operator-key operator.pem
    """

    async def order() -> None:
        async with operating(operator_key) as at:
            folder = key_folder(at.settings)
            if folder is None:
                raise SettingsError(
                    [
                        (
                            "AUDIT_SIGNING_PRIVATE_KEY names no directory of keys: make the new "
                            "key where it will be held, and give its vkey to `attestream keys add`"
                        )
                    ]
                )
            path = new_key_path(folder)
            # Nobody signs with it before the order is sealed; a crash here leaves an idle key.
            signer = write_new_key(path)
            click.echo(f"private key written to {path}", err=True)
            base = at.engine.topology.base
            await _add(at, Vkey(base, signer.algorithm, signer.public_key), None, yes=yes)

    asyncio.run(order())


async def _add(at: Operating, vkey: Vkey, prefix: str | None, *, yes: bool) -> None:
    if vkey.public == at.key.vkey.public:
        raise SettingsError(["the operator's own key: it orders, and never signs a log"])
    operation = KeyAdded(vkey=vkey, prefix=prefix or vkey.name)
    if confirmed(operation, yes=yes):
        await at.send(operation)
        click.echo(vkey.render())
        click.echo(SENT, err=True)


def _parsed(text: str) -> Vkey:
    try:
        return Vkey.parse(text.strip())
    except MalformedError as error:
        raise SettingsError([str(error)]) from error


def vkey_of(signer: Signer, name: str) -> str:
    """The C2SP vkey of a signer's public key under a name."""
    return Vkey(name, signer.algorithm, signer.public_key).render()
