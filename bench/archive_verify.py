"""`verify --level record` on an archive against the same records in one local file.

Each is a process of its own, held to one core; the S3 server has the other one to itself. The
archives are written by the archiver, with its own cuts.
"""

import asyncio
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import boto3
from botocore.config import Config

from bench.embedded import command
from bench.measuring import Round, median, rounds
from bench.restoring import VALUE_BYTES, fill, log_rows
from streams.objects import DirectoryObjectStore, S3Connection, open_object_store
from streams.segments import encode_block, encode_head
from tests.support.local_s3 import ACCESS_KEY, SECRET, LocalS3
from tests.support.sealed_log import KEYS, ORIGIN


class Places(NamedTuple):
    """The same log in a file, in a directory and in a bucket."""

    file: str
    directory: str
    bucket: str
    environ: dict[str, str]
    keys: str


def report(*, quick: bool) -> list[str]:
    """Markdown lines: records a second on one core, and the ratio to the file."""
    count, times = (100_000, 1) if quick else (1_000_000, 3)
    with tempfile.TemporaryDirectory(prefix="attestream-bench-") as folder:
        (Path(folder) / "s3").mkdir()
        with LocalS3(Path(folder) / "s3") as s3:
            places = asyncio.run(filled(Path(folder), s3, count))
            modes: dict[str, Callable[[], Round]] = {
                "an exported file": partial(verified, places, places.file, count),
                "an archive in a directory": partial(verified, places, places.directory, count),
                "an archive in S3": partial(verified, places, places.bucket, count),
            }
            measured = rounds(modes, times)
    file = median(measured["an exported file"])
    lines = ["| `verify` on one core | records/s | µs CPU a record | of a file |"]
    lines.append("|---|---|---|---|")
    for what, found in measured.items():
        one = median(found)
        title = f"{what}, {count:,} × {VALUE_BYTES} B"
        ratio = f"{one.rate / file.rate:.2f}"
        lines.append(f"| {title} | {one.rate:,.0f} | {one.cpu_us:.1f} | {ratio} |")
    return lines


async def filled(folder: Path, s3: LocalS3, count: int) -> Places:
    """Write the log to all three places."""
    bucket = f"bench-{secrets.token_hex(6)}"
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    connection = S3Connection(endpoint=s3.endpoint, access_key=ACCESS_KEY, secret=SECRET)
    address = f"s3://{bucket}/log"
    for store in (
        DirectoryObjectStore(folder / "archive"),
        open_object_store(address, connection),
    ):
        await fill(store, count)
    export = folder / "export.avro"
    with export.open("wb") as file:
        file.write(encode_head(ORIGIN, 0, None))
        for rows in log_rows(count):
            for first in range(0, len(rows), 512):
                file.write(encode_block(ORIGIN, 0, rows[first : first + 512]))
    keys = folder / "keys.txt"
    keys.write_text("".join(f"{vkey.render()}\n" for vkey in KEYS.vkeys))
    environ = {"S3_ENDPOINT": s3.endpoint, "S3_ACCESS_KEY": ACCESS_KEY, "S3_SECRET": SECRET}
    return Places(str(export), str(folder / "archive"), address, environ, str(keys))


def verified(places: Places, address: str, count: int) -> Round:
    arguments = ["verify", address, "--keys", places.keys, "--json", "--jobs", "1"]
    with held_to_one_core():
        done = command(arguments, os.environ | places.environ)
    assert f'"size": {count}' in done.out, done.out
    return Round(count / done.wall, done.cpu / count * 1e6)


@contextmanager
def held_to_one_core() -> Iterator[None]:
    """What is started meanwhile has one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
