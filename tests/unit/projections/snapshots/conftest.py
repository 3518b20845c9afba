"""What keepers of snapshots say."""

import pytest

from tests.support.snapshot_states import Said


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    lines = Said()
    monkeypatch.setattr("projections.snapshots.keeper.log", lines)
    return lines
