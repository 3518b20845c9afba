"""Structured log lines on standard error: key=value on a terminal, JSON elsewhere.

Event names are short sentences in lower case; values are facts, never payloads or secrets.
"""

import logging
import sys

import structlog

__all__ = ["configure_logs", "get_log"]


def configure_logs(*, level: int = logging.INFO) -> None:
    """Set up structlog for a process. Called once, by a command."""
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks if not terminal else _unchanged,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def _on_standard_error(*_arguments: object) -> structlog.PrintLogger:
    return structlog.PrintLogger(sys.stderr)


# Of commands that set up nothing, too: what they print on standard output is their answer alone.
structlog.configure(logger_factory=_on_standard_error)


def get_log(part: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of one part of the project."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=part)
    return log


def _unchanged(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return event
