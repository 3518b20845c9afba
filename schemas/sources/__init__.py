"""Foreign formats: one module each, which turns their documents into events of ours.

`FORMATS` is the table of them: `cerbos`, `opa`, `kubernetes`, and our own `decisions_jsonl` and
`memories_jsonl`. A new one is a module with a `translate` and a line here.

`documents` says where a document ends · `reading` what all adapters read with · `fitting` makes
a large event fit into a record.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from schemas.events import Event
from schemas.sources import cerbos, decisions_jsonl, kubernetes, memories_jsonl, opa
from schemas.sources.documents import Document, Unreadable, json_documents
from schemas.sources.reading import Options

__all__ = ["FORMATS", "Adapter", "Document", "Options", "Unreadable"]


class Adapter(NamedTuple):
    """How a format is read: where documents end, and what one means.

    `documents` takes a stream in chunks and yields each document with the line it begins on;
    `translate` raises InvalidEventError for one that cannot be read at all.
    """

    documents: Callable[[Iterable[bytes]], Iterator[Document | Unreadable]]
    translate: Callable[[bytes, Options], Event]


FORMATS: Mapping[str, Adapter] = MappingProxyType(
    {
        "cerbos": Adapter(json_documents, cerbos.translate),
        "decisions-jsonl": Adapter(json_documents, decisions_jsonl.translate),
        "kubernetes": Adapter(json_documents, kubernetes.translate),
        "memories-jsonl": Adapter(json_documents, memories_jsonl.translate),
        "opa": Adapter(json_documents, opa.translate),
    }
)
"""Adapters by the name that `send --format` takes."""
