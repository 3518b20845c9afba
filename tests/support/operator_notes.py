"""An operator of tests, and the notes it signs."""

from streams.audit.operations import (
    Operation,
    make_operation_note,
    operator_name,
    render_operation,
)
from tests.support.signed_logs import BASE, Key

OPERATOR = Key("operator")


def signed_order(operation: Operation, key: Key = OPERATOR, base: str = BASE) -> bytes:
    """The value of a record of `attestream.operations`."""
    signature = key.sign(render_operation(operation).encode())
    return make_operation_note(operation, base, key.vkey(operator_name(base)), signature)
