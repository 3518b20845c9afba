"""Where a deployment keeps what is outside Kafka: its archive, and perhaps a second place.

Optional dependencies are imported where an address needs them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from streams.anchors import AnchorStore
from streams.audit.note import TrustedKeys
from streams.errors import SettingsError, TransientError
from streams.ports import Clock
from streams.second_anchors import PairedAnchors
from streams.settings import Settings
from streams.telemetry.logs import get_log
from streams.verdicts import Verdict

if TYPE_CHECKING:
    from streams.objects.disposal import DisposableStore
    from streams.objects.locations import CheckedStore, HoldingStore, S3Connection
    from streams.objects.probe_bucket import OpenBucket

__all__ = [
    "archive_problems",
    "kept_verdicts",
    "newest_anchors",
    "open_admitted",
    "open_anchors",
    "open_holding",
    "open_objects",
    "open_probed_bucket",
    "open_second",
    "open_snapshot_objects",
]

START_S = 20.0  # how long a start waits for an archive that does not answer
log = get_log("archive")


def open_objects(settings: Settings) -> "CheckedStore":
    """The archive's object store: ATTESTREAM_ARCHIVE, or a directory of the embedded engine.

    Raises:
        SettingsError: the Kafka deployment has no archive set.
    """
    from streams.objects.locations import open_object_store  # noqa: PLC0415

    return open_object_store(_archive_url(settings), _s3_connection(settings))


def open_probed_bucket(settings: Settings, clock: Clock) -> "OpenBucket | None":
    """The archive's bucket, to be probed; None where the archive is a directory.

    Raises:
        SettingsError: the Kafka deployment has no archive set, or no credentials for it.
    """
    from streams.objects.locations import open_probed  # noqa: PLC0415

    return open_probed(_archive_url(settings), _s3_connection(settings), clock)


async def open_admitted(settings: Settings, clock: Clock) -> "CheckedStore":
    """The archive's object store for a worker: refused where its bucket only pretends.

    One that gives no answer is opened all the same. Nothing is read from it or written to it
    before it answered and was tried.

    Raises:
        SettingsError: it breaks a promise the archive relies on, or cannot be used.
    """
    from streams.objects.admission import GatedStore  # noqa: PLC0415  # not for directories

    if settings.s3_release_secret is not None:
        raise SettingsError(["S3_RELEASE_SECRET releases legal holds, and stays off workers"])
    store = open_objects(settings)

    async def admit() -> None:
        await store.check_bucket()
        await _refuse_pretender_bucket(settings, clock)

    gated = GatedStore(store, admit, clock)
    try:
        await asyncio.wait_for(gated.check_bucket(), START_S)
    except (TransientError, TimeoutError) as error:
        log.warning("the archive does not answer; what needs it waits", why=str(error))
    except BaseException:
        await store.close()
        raise
    return gated


async def archive_problems(settings: Settings) -> list[str]:
    """What keeps a worker from using the archive; none where it gives no answer now."""
    objects = open_objects(settings)
    try:
        with suppress(TransientError, TimeoutError):
            await asyncio.wait_for(objects.check_bucket(), START_S)
    except SettingsError as error:
        return error.problems
    finally:
        await objects.close()
    return []


def open_holding(settings: Settings, *, releasing: bool) -> "HoldingStore":
    """The archive's bucket, to put legal holds with the writer's credentials or release them.

    Raises:
        SettingsError: no bucket; or no credentials of their own for releasing.
    """
    from streams.objects.locations import open_holds  # noqa: PLC0415

    connection = _s3_connection(settings)
    if releasing:
        secret = settings.s3_release_secret
        if settings.s3_release_profile is None and secret is None:
            raise SettingsError(
                [
                    (
                        "legal holds are released with credentials the workers do not have: set "
                        "S3_RELEASE_PROFILE, or S3_RELEASE_ACCESS_KEY and S3_RELEASE_SECRET"
                    )
                ]
            )
        connection = replace(
            connection,
            access_key=settings.s3_release_access_key,
            secret=secret.get_secret_value() if secret else None,
            profile=settings.s3_release_profile,
        )
    return open_holds(_archive_url(settings), connection)


async def _refuse_pretender_bucket(settings: Settings, clock: Clock) -> None:
    bucket = open_probed_bucket(settings, clock)
    if bucket is None:
        return
    from streams.objects.admission import refuse_pretender  # noqa: PLC0415  # not for directories

    await refuse_pretender(bucket, clock, allowed=settings.allow_unlocked_archive)


def snapshots_url(settings: Settings) -> str | None:
    """Where snapshots are: ATTESTREAM_SNAPSHOTS, or a directory of the embedded engine."""
    if settings.snapshots is None and not settings.on_kafka:
        return str(settings.home / "snapshots")
    return settings.snapshots


def open_snapshot_objects(settings: Settings) -> "DisposableStore":
    """The store of snapshots; its objects may be deleted when their lock has ended.

    Raises:
        SettingsError: the Kafka deployment has no place for snapshots set.
    """
    from streams.objects.disposal import DisposableStore  # noqa: PLC0415
    from streams.objects.locations import open_object_store  # noqa: PLC0415

    url = snapshots_url(settings)
    if url is None:
        raise SettingsError(["ATTESTREAM_SNAPSHOTS is required: s3://bucket/prefix"])
    store = open_object_store(url, _s3_connection(settings))
    assert isinstance(store, DisposableStore), "a store without delete"
    return store


def _archive_url(settings: Settings) -> str:
    if settings.archive is None and settings.on_kafka:
        raise SettingsError(
            ["ATTESTREAM_ARCHIVE is required: s3://bucket/prefix or a directory for the archive"]
        )
    return settings.archive or str(settings.home / "archive")


def _s3_connection(settings: Settings) -> "S3Connection":
    from streams.objects.locations import S3Connection  # noqa: PLC0415

    secret = settings.s3_secret
    return S3Connection(
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key=settings.s3_access_key,
        secret=secret.get_secret_value() if secret else None,
        sse_kms_key_id=settings.s3_sse_kms_key_id,
        path_style=settings.s3_path_style,
        legal_hold=settings.legal_hold,
    )


@asynccontextmanager
async def open_anchors(
    settings: Settings, objects: "CheckedStore | None" = None
) -> AsyncIterator[AnchorStore]:
    """Claims, verdicts and anchors of all logs, in one place or in two.

    `objects`: the archive where it is open already; whoever opened it closes it.

    Raises:
        SettingsError: an address that cannot be used.
    """
    first, second = objects or open_objects(settings), open_second(settings)
    try:
        mine = AnchorStore(first, retain_days=settings.retention_days)
        if second is None:
            yield mine
        else:
            await _check_second(second)
            beside = AnchorStore(second, retain_days=settings.retention_days)
            yield PairedAnchors(mine, beside)
    finally:
        if second is not None:
            await second.close()
        if objects is None:
            await first.close()


def open_second(settings: Settings) -> "CheckedStore | None":
    """The place ATTESTREAM_ANCHORS names, None where it names none.

    Raises:
        SettingsError: it is the archive itself, or cannot be used.
    """
    if settings.anchors is None:
        return None
    if settings.anchors.rstrip("/") == _archive_url(settings).rstrip("/"):
        raise SettingsError(
            ["ATTESTREAM_ANCHORS is the archive itself: name a place under another hand"]
        )
    from streams.objects.locations import open_object_store  # noqa: PLC0415

    return open_object_store(settings.anchors, _s3_connection(settings))


async def newest_anchors(
    settings: Settings, origin: str, keys: TrustedKeys | None
) -> dict[str, int | None]:
    """The size of a log's newest valid anchor, by place: `anchored`, `anchored_second`.

    None where it has none or no archive is set; no `anchored_second` without a second place.
    Without `keys` no signature is checked, and whoever may write there can forge one.
    """
    found: dict[str, int | None] = {"anchored": None}
    if settings.archive is not None or not settings.on_kafka:
        found["anchored"] = await _newest(open_objects(settings), settings, origin, keys)
    second = open_second(settings) if settings.anchors is not None else None
    if second is not None:
        found["anchored_second"] = await _newest(second, settings, origin, keys)
    return found


async def kept_verdicts(settings: Settings, origin: str) -> list[Verdict]:
    """Why sealing of a log stopped, each time, answered or not. Raises VerificationError."""
    async with open_anchors(settings) as anchors:
        return await anchors.verdicts(origin)


async def _newest(
    objects: "CheckedStore", settings: Settings, origin: str, keys: TrustedKeys | None
) -> int | None:
    try:
        store = AnchorStore(objects, retain_days=settings.retention_days)
        anchor = await store.newest(origin, keys)
    finally:
        await objects.close()
    return anchor.size if anchor else None


async def _check_second(second: "CheckedStore") -> None:
    try:
        await second.check_bucket()
    except TransientError:
        # It may come back: until then each partition waits at its start, and says why.
        return
