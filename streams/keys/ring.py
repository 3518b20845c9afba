"""The signers one process holds; those of a directory of keys may come while it runs.

Holding a key is no right to use it: `streams.trust` says which may sign. The first signer is the
one that signs until an operator says otherwise.
"""

from collections.abc import Sequence
from pathlib import Path

from streams.errors import SettingsError
from streams.keys.local import LocalSigner, key_files, load_private_key
from streams.keys.signing import OpenedSigner

__all__ = ["KeyRing"]


class KeyRing:
    """Opened signers, each public key once. Whoever opened them closes them."""

    def __init__(self, signers: Sequence[OpenedSigner], folder: Path | None = None) -> None:
        """`folder`: where local keys lie, other ones perhaps later; None: nowhere."""
        self._signers = list({(s.algorithm, s.public_key): s for s in signers}.values())
        self._folder = folder

    @property
    def first(self) -> OpenedSigner:
        """The one that counts before any order."""
        return self._signers[0]

    def held(self) -> Sequence[OpenedSigner]:
        """All of them, the first one first."""
        return tuple(self._signers)

    def look(self) -> list[str]:
        """Take in the keys that were put into the directory since; what is wrong with others."""
        problems = []
        held = {signer.public_key for signer in self._signers}
        for path in key_files(self._folder) if self._folder else []:
            try:
                signer = LocalSigner(load_private_key(str(path), str(path)))
            except (SettingsError, OSError) as error:
                problems.append(str(error))
                continue
            if signer.public_key not in held:
                self._signers.append(signer)
        return problems
