"""The access rights a page of the documentation grants, read from its `acl` commands."""

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Grant", "grants"]

FENCED = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
OPTIONS = {"--topic": "TOPIC", "--group": "GROUP", "--transactional-id": "TRANSACTIONAL_ID"}


class Grant(NamedTuple):
    """One right; the words are those of confluent_kafka's enumerations."""

    user: str
    kind: str
    name: str
    pattern: str
    operation: str


def grants(page: str) -> list[Grant]:
    """Each right of the `acl User:… …` commands once, in order. Raises ValueError for others."""
    lines = "".join(FENCED.findall(page)).replace("\\\n", " ").splitlines()
    commands = [line for line in lines if line.startswith("acl User:")]
    return list(dict.fromkeys(grant for line in commands for grant in _granted(line)))


def _granted(line: str) -> Iterator[Grant]:
    _, principal, *words = shlex.split(line)
    pattern, operations, resources = "LITERAL", list[str](), list[tuple[str, str]]()
    for option, value in zip(words[::2], words[1::2], strict=True):
        match option:
            case "--operation":
                operations.append(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", value).upper())
            case "--resource-pattern-type":
                pattern = value.upper()
            case "--topic" | "--group" | "--transactional-id":
                resources.append((OPTIONS[option], value))
            case _:
                raise ValueError(f"{option} in: {line}")
    for kind, name in resources:
        for operation in operations:
            yield Grant(principal.removeprefix("User:"), kind, name, pattern, operation)
