"""A rollout by the command line: off, counted in the shadow, published for some, for all."""

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from projections.cli.demo_data import decisions
from projections.decision_index.scoring import Rules
from tests.support.embedded_command import EmbeddedHome

COUNT = 900
TUNING = {"ATTESTREAM_WARM_UP": "300", "ATTESTREAM_RISK_THRESHOLD": "0.5"}
LATER = "2026-01-01T09:30:00Z"  # two events in three are earlier
WITHHELD = "findings not published"
pytestmark = [pytest.mark.slow]
Copied = Callable[..., EmbeddedHome]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose events are sealed and not scored: the mode is off."""
    folder = tmp_path_factory.mktemp("modes")
    home = EmbeddedHome(folder / "home", {"ATTESTREAM_PIPELINE_MODE": "off", **TUNING})
    events = folder / "decisions.ndjson"
    events.write_bytes(b"\n".join(decisions(COUNT)) + b"\n")
    home.run("send", "--format", "cerbos", str(events))
    told = home.run("run", "--once")
    assert home.alerts() == []
    assert home.logged(told, WITHHELD) == []
    return home.path


@pytest.fixture
def copied(sealed: Path, tmp_path: Path) -> Copied:
    """A copy of that home with other settings."""

    def copy(**settings: str) -> EmbeddedHome:
        path = tmp_path / f"home-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(sealed, path)
        return EmbeddedHome(path, TUNING | settings)

    return copy


def test_what_is_counted_in_the_shadow_is_what_is_published_for_all_or_for_a_share(
    copied: Copied,
) -> None:
    shadow, live = copied(ATTESTREAM_PIPELINE_MODE="shadow"), copied()
    (counted,) = shadow.logged(shadow.run("run", "--once"), WITHHELD)
    assert shadow.alerts() == []
    repeated = live.logged(live.run("run", "--once"), WITHHELD)
    alerts = live.alerts()
    assert len(alerts) >= 6
    told = sum(alert["count"] for alert in alerts) + sum(line["repeated"] for line in repeated)
    assert counted["shadowed"] == told

    share = copied(ATTESTREAM_PIPELINE_PERCENT="40")
    share.run("run", "--once")
    chosen = Rules(percentage=40)
    expected = [one for one in alerts if chosen.publishes(one["decision"]["principal"])]
    assert list(map(leaf_of, share.alerts())) == list(map(leaf_of, expected))
    assert 0 < len(expected) < len(alerts)


def leaf_of(alert: dict[str, Any]) -> int:
    return int(alert["evidence"][0]["index"])


def test_a_mode_that_withholds_is_shown_and_is_part_of_the_rule_version(copied: Copied) -> None:
    versions = set()
    for mode, percent, says in (
        ("on", "25", "on for 25 % of the principals"),
        ("shadow", "100", "shadow: findings are counted and not published"),
    ):
        home = copied(ATTESTREAM_PIPELINE_MODE=mode, ATTESTREAM_PIPELINE_PERCENT=percent)
        (found,) = [one for one in home.lines("doctor", "--json") if one["part"] == "alerts"]
        assert says in found["says"]
        assert found["good"] is None
        versions.add(found["says"].rpartition(" ")[2])
    assert len(versions) == 2


def test_findings_about_older_records_than_asked_for_are_not_published(copied: Copied) -> None:
    home = copied(ATTESTREAM_ALERTS_FROM=LATER)
    (withheld,) = home.logged(home.run("run", "--once"), WITHHELD)
    alerts = home.alerts()
    assert withheld["shadowed"] > 0
    assert len(alerts) > 0
    earliest = datetime.fromisoformat(LATER).timestamp() * 1_000_000
    assert all(alert["first_seen"] >= earliest for alert in alerts)
    (found,) = [one for one in home.lines("doctor", "--json") if one["part"] == "alerts"]
    assert "on from 2026-01-01T09:30:00+00:00 on" in found["says"]


def test_a_mode_nobody_knows_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    home = EmbeddedHome(tmp_path / "home", {"ATTESTREAM_PIPELINE_MODE": "sideways"})
    done = home.command("run", "--once")
    assert done.status == 2
    assert "ATTESTREAM_PIPELINE_MODE" in done.told
    assert not home.path.exists()
