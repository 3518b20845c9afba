"""How a command ends when it cannot do its work: one message, and the exit status of design."""

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from streams.errors import (
    AttestreamError,
    MissingExtraError,
    SettingsError,
    SourceUnreadableError,
)

__all__ = ["exit_on_failure"]

F = TypeVar("F", bound=Callable[..., Any])


def exit_on_failure(command: F) -> F:
    """Turn the project's errors into one message on stderr and an exit status.

    2 settings or usage, 3 unreadable source, 1 everything else the project expects to happen.
    Anything else is a defect and shows its traceback.
    """

    @functools.wraps(command)
    def guarded(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # click's own contract
        try:
            return command(*arguments, **options)
        except (SettingsError, MissingExtraError) as error:
            click.echo(str(error), err=True)
            sys.exit(2)
        except SourceUnreadableError as error:
            click.echo(str(error), err=True)
            sys.exit(3)
        except AttestreamError as error:
            click.echo(f"{type(error).__name__}: {error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)

    return guarded  # type: ignore[return-value]  # same signature, wrapped
