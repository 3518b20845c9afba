"""Why bytes could not be read, or a schema not be replaced."""

__all__ = [
    "DecodeError",
    "IncompatibleSchemaError",
    "InvalidEventError",
    "RejectedInput",
    "TooLargeError",
]


DETAIL_CHARS_MAX = 1_000


class RejectedInput(ValueError):
    """Input a producer got wrong. `reason` is a DeadLetter reason (formats §7); go on.

    `detail` may quote the input, and is cut to 1,000 characters.
    """

    def __init__(self, reason: str, detail: str) -> None:
        if len(detail) > DETAIL_CHARS_MAX:
            detail = f"{detail[: DETAIL_CHARS_MAX - 1]}…"
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class DecodeError(RejectedInput):
    """The bytes are not what their framing or schema says."""


class InvalidEventError(RejectedInput):
    """The bytes decode, but the event breaks a rule of its type."""

    def __init__(self, detail: str) -> None:
        super().__init__("INVALID_EVENT", detail)


class TooLargeError(RejectedInput):
    """The event is valid and larger than any reader takes."""

    def __init__(self, detail: str) -> None:
        super().__init__("TOO_LARGE", detail)


class IncompatibleSchemaError(ValueError):
    """A writer schema may not replace another one."""
