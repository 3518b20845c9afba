"""The port of a schema registry: two questions, asked rarely and waited for."""

from typing import NamedTuple, Protocol

from schemas.framing import SchemaReference

__all__ = ["RegistryAnswer", "SchemaRegistry"]


class RegistryAnswer(NamedTuple):
    """A schema's text, or None and why: unknown to the registry, or of no use to any reader."""

    text: str | None
    detail: str = ""


class SchemaRegistry(Protocol):
    """One registry. An answer is the registry's own word; silence and refusals are errors."""

    @property
    def url(self) -> str:
        """Where it is asked, without credentials."""

    async def ask(self, reference: SchemaReference) -> RegistryAnswer:
        """What an id or a GUID stands for.

        Raises:
            TransientError: no answer; ask again later.
            SettingsError: refused; an operator must act.
        """

    async def register(self, subject: str, text: str) -> int:
        """The id of an Avro schema under a subject, registered if it was not.

        Raises:
            TransientError, SettingsError: as `ask`; also where the subject's rules forbid it.
        """
