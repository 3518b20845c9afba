"""Settings of the archive that must not be what they are, or not together."""

import pytest

from projections.archive.fold import CutRules
from streams.errors import SettingsError
from streams.settings import load_settings


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return caught.value.problems


def test_less_retention_than_the_floor_is_refused() -> None:
    (said,) = problems(ATTESTREAM_RETENTION_DAYS="364")
    assert "ATTESTREAM_RETENTION_FLOOR_DAYS=365" in said
    (said,) = problems(ATTESTREAM_RETENTION_FLOOR_DAYS="3650")
    assert "is below ATTESTREAM_RETENTION_FLOOR_DAYS=3650" in said
    few = {"ATTESTREAM_RETENTION_DAYS": "7", "ATTESTREAM_RETENTION_FLOOR_DAYS": "7"}
    assert load_settings(few).retention_days == 7


def test_a_segment_setting_cannot_make_an_object_of_more_than_64_mib() -> None:
    assert len(problems(ATTESTREAM_SEGMENT_BYTES=str(60 * 2**20 + 1))) == 1
    assert load_settings({"ATTESTREAM_SEGMENT_BYTES": str(60 * 2**20)}).segment_bytes


def test_the_defaults_of_settings_and_of_rules_are_the_same() -> None:
    settings, rules = load_settings({}), CutRules()
    assert (settings.segment_bytes, settings.segment_records) == (
        rules.bytes_max,
        rules.records_max,
    )
    assert settings.segment_span_s * 1000 == rules.span_ms_max
    assert (settings.segment_daily, settings.segment_age_s) == (rules.daily, rules.age_s_max)


def test_who_releases_holds_is_not_who_writes() -> None:
    writer = {"S3_ACCESS_KEY": "one", "S3_SECRET": "hush"}
    (said,) = problems(**writer, S3_RELEASE_ACCESS_KEY="one", S3_RELEASE_SECRET="murmur")
    assert "holds nothing" in said
    (said,) = problems(S3_RELEASE_SECRET="murmur")
    assert "go together" in said
