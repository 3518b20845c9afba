"""A Kafka deployment whose operator moves trust."""

import json
from typing import Any

from streams.audit.note import Vkey, parse_note
from streams.keys.local import write_new_key
from tests.support.deployment import Deployment

__all__ = ["Operator"]


class Operator:
    """A deployment whose local keys lie in a directory, and its operator."""

    def __init__(self, deployment: Deployment) -> None:
        self.at = deployment
        folder = deployment.folder
        self.keys, self.private = folder / "keys", folder / "operator.pem"
        write_new_key(self.keys / "signing.pem")
        deployment.extra["AUDIT_SIGNING_PRIVATE_KEY"] = str(self.keys)
        deployment.extra["ATTESTREAM_HEADS_S"] = "1"
        made = deployment.run(
            "keys", "generate", deployment.base, "--operator", "--out", str(self.private)
        )
        self.vkey_file = folder / "operator.vkey"
        self.vkey_file.write_text(made.stdout)
        deployment.extra["ATTESTREAM_OPERATOR_KEY"] = str(self.vkey_file)

    def order(self, *arguments: str, check: bool = True) -> str:
        key = ("--yes", "--operator-key", str(self.private))
        done = self.at.run(*arguments, *key, check=check)
        return done.stdout + done.stderr

    def vkeys(self) -> list[str]:
        return self.at.run("keys", "show").stdout.splitlines()

    def signers(self, origin: str) -> int:
        """How many of the keys held signed the newest checkpoint of a log."""
        note = parse_note(self.at.run("audit", "checkpoint", origin).stdout)
        held = {Vkey.parse(line).for_origin(origin).key_id for line in self.vkeys()}
        return len({line.key_id for line in note.lines} & held)

    def size(self, origin: str) -> int:
        heads = map(json.loads, self.at.run("audit", "heads", "--json").stdout.splitlines())
        return next((int(head["size"]) for head in heads if head["origin"] == origin), 0)

    def verdict(self, topic: str) -> dict[str, Any]:
        source = f"kafka://{self.at.bootstrap}/{self.at.audit(topic)}"
        keys = ("--keys", str(self.vkey_file), "--json")
        found: dict[str, Any] = json.loads(self.at.run("verify", source, *keys).stdout)
        return found
