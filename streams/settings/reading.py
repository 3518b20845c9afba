"""From an environment to settings: all problems reported together."""

from collections.abc import Mapping

from pydantic import ValidationError

from streams.errors import SettingsError
from streams.settings.model import Settings
from streams.settings.rules import contradictions

__all__ = ["load_settings", "sanitised"]

KNOWN_ELSEWHERE = {"ATTESTREAM_SAMPLES"}  # read by benches and tests only
ALIASES = {
    "AUDIT_SIGNING_KEY": "AUDIT_SIGNING_PRIVATE_KEY",
    "PORT": "ATTESTREAM_HTTP_PORT",
    "NODE_ENV": "ATTESTREAM_ENV",
}
REFUSED = {
    "AUDIT_SIGNING_SECRET": "is refused: nobody else can check a shared secret; "
    "set AUDIT_SIGNING_PRIVATE_KEY to an Ed25519 private key",
}


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read settings from an environment.

    An empty variable counts as not set. An `ATTESTREAM_*` name nobody reads is a problem: it is a
    misspelt setting.

    Raises:
        SettingsError: all problems, one line each, no secret in any.
    """
    known = {f.alias for f in Settings.model_fields.values() if f.alias}
    given = {name: value for name, value in environ.items() if value != ""}
    problems = [f"{name} {why}" for name, why in REFUSED.items() if given.get(name)]
    values = {name: given[name] for name in known & given.keys()}
    for alias, name in ALIASES.items():
        if alias in given:
            values.setdefault(name, given[alias])
    problems += [
        f"{name} is not a setting: see docs/reference/settings.md"
        for name in sorted(given)
        if name.startswith("ATTESTREAM_") and name not in known | KNOWN_ELSEWHERE
    ]
    settings, wrong = _validated(values)
    problems += wrong + contradictions(settings)
    if problems:
        raise SettingsError(problems)
    return settings


def _validated(values: dict[str, str]) -> tuple[Settings, list[str]]:
    """The settings, and what was wrong with them: such a setting is taken as not set."""
    try:
        return Settings.model_validate(values), []
    except ValidationError as error:
        wrong = {str(e["loc"][0]): _sentence(e["loc"][0], e["msg"]) for e in error.errors()}
        usable = {name: value for name, value in values.items() if name not in wrong}
        return Settings.model_validate(usable), list(wrong.values())


def sanitised(settings: Settings) -> dict[str, str]:
    """Every setting by name as text, secrets as `**********`: what start-up may log."""
    return {
        field.alias or name: str(getattr(settings, name))
        for name, field in Settings.model_fields.items()
        if getattr(settings, name) not in (None, ())
    }


def _sentence(name: str | int, message: str) -> str:
    return f"{name}: {message.removeprefix('Value error, ')}"
