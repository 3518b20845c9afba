"""Which references of one log may be asked about: a pure function of the log.

Whoever may produce events may name as many schemas as there are GUIDs. Asking about each would
flood the registry, the operations log and every reader's memory. So a log admits 256 different
references, and one more for every 8,192 leaves; one that is not admitted stays unknown, and may
be admitted when a later batch names it. Leaves are counted, not hours: producers choose times.

It is decided batch by batch, and a batch is what one checkpoint newly covers, so every process
that walks the log from its first leaf comes to the same.
"""

from collections.abc import Iterable

from projections.ports import SealedBatch
from schemas.framing import SchemaReference
from schemas.references import registry_reference

__all__ = ["LEAVES_EACH", "REFERENCES_FIRST", "AdmittedReferences"]

REFERENCES_FIRST = 256
LEAVES_EACH = 8_192


class AdmittedReferences:
    """The references a log has named that count, from its first leaf on."""

    def __init__(self) -> None:
        self._admitted: set[SchemaReference] = set()

    def new_in(self, batch: SealedBatch) -> tuple[list[SchemaReference], int]:
        """What the batch would have admitted, in order, and how many are held back."""
        found: dict[SchemaReference, None] = {}
        for record in batch.records:
            reference = registry_reference(record.content)
            if reference is not None and reference not in self._admitted:
                found[reference] = None
        allowed = REFERENCES_FIRST + batch.size // LEAVES_EACH - len(self._admitted)
        new = list(found)[: max(allowed, 0)]
        return new, len(found) - len(new)

    @property
    def admitted(self) -> list[SchemaReference]:
        """Those that count, in an order of their own."""
        return sorted(self._admitted, key=lambda reference: (reference.kind.name, reference.value))

    def admit(self, references: Iterable[SchemaReference]) -> None:
        """Count them from now on."""
        self._admitted.update(references)
