"""The schema files of OCSF, as far as a folder of samples holds them, held against a finding.

Which object an attribute holds stands in a dictionary the samples lack: `OBJECTS` says it of those
whose files are there. Attributes of profiles that are not applied count as unknown.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["OcsfFiles"]

OBJECTS = {
    "metadata": "metadata",
    "finding_info": "finding_info",
    "attacks": "attack",
    "evidences": "evidences",
    "authorizations": "authorization",
    "attestation_list": "attestation",
    "fingerprint": "fingerprint",
}
ELSEWHERE = {"0", "99"}  # Unknown and Other: of every enumeration in the dictionary


class OcsfFiles:
    """The class Detection Finding and the objects it holds."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.version = self._load("version")["version"]
        self._attributes: dict[str, Any] = {}
        for name in ("base_event", "findings/finding", "findings/detection_finding"):
            for attribute, told in self._load(f"events/{name}")["attributes"].items():
                if attribute != "$include":
                    before = self._attributes.get(attribute, {})
                    enum = {**before.get("enum", {}), **told.get("enum", {})}
                    self._attributes[attribute] = {**before, **told, "enum": enum}

    def violations(self, finding: Mapping[str, Any]) -> list[str]:
        """Where a finding breaks the files; empty where it is valid as far as they tell."""
        attributes = dict(self._attributes)
        for profile in finding["metadata"].get("profiles", ()):
            attributes |= self._load(f"profiles/{profile}")["attributes"]
        found = list(_violations(finding, attributes, "$"))
        return found + list(self._of_objects(finding, "$"))

    def _of_objects(self, value: Mapping[str, Any], at: str) -> Iterator[str]:
        for name, held in value.items():
            if name == "unmapped" or (at.endswith("]") and name == "data"):
                continue
            for part in held if isinstance(held, list) else [held]:
                if not isinstance(part, dict):
                    continue
                if name in OBJECTS:
                    yield from self._of_object(part, OBJECTS[name], f"{at}.{name}")
                yield from self._of_objects(part, f"{at}.{name}[]")

    def _of_object(self, value: Mapping[str, Any], name: str, at: str) -> Iterator[str]:
        told = self._load(f"objects/{name}")
        yield from _violations(value, told["attributes"], at)
        least = told.get("constraints", {}).get("at_least_one", ())
        if least and not value.keys() & set(least):
            yield f"{at}: none of {least}"

    def _load(self, name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self._root / f"{name}.json").read_text("utf-8"))
        return loaded


def _violations(value: Mapping[str, Any], attributes: Mapping[str, Any], at: str) -> Iterator[str]:
    for name, told in attributes.items():
        if name != "$include" and told.get("requirement") == "required" and name not in value:
            yield f"{at}.{name}: is missing"
    for name, held in value.items():
        told = attributes.get(name)
        if told is None:
            yield f"{at}.{name}: is unknown"
        elif name.endswith("_id") and told.get("enum"):
            allowed = told["enum"].keys() | ELSEWHERE
            if str(held) not in allowed:
                yield f"{at}.{name}: {held} is not one of {sorted(allowed)}"
