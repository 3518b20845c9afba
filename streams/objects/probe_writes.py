"""Checks of writing: what exists is not written again, and what arrives changed is not kept."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from threading import Barrier, Event
from typing import Any

from streams.objects.probe_bucket import Answer, RawRequest
from streams.objects.probe_canaries import Canaries, checksum
from streams.objects.probe_checks import Check
from streams.objects.probe_verdicts import Outcome, Verdict, judge_not_stored, judge_race
from streams.objects.s3_answers import LOCK_MODE

__all__ = ["CHECKS"]

PUT_RACERS = 16
UPLOAD_RACERS = 8
ROUNDS = 3  # of a race that some servers lose only sometimes
CUT_SETTLES_S = 0.5  # a server may notice the end of a connection late
TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
NOT_STORED = "4xx, and nothing stored"
Racer = Callable[[], Answer]


def _not_written_twice(c: Canaries) -> Outcome:
    canary = c.put("once")
    again = {**c.request("once", c.until(), b"another"), "Key": canary.key}
    answer = c.bucket.send("put_object", **again)
    outcome = judge_not_stored(answer, versions=len(c.versions(canary.key)) - 1)
    return outcome._replace(found=outcome.found.replace("stored", "stored over it"))


def _over_a_marker(c: Canaries) -> Outcome:
    canary = c.put("marked")
    marked = c.bucket.send("delete_object", Key=canary.key)
    if not marked.accepted:
        return Outcome(Verdict.UNTRIED, f"no delete marker could be laid: {marked.said}")
    again = {**c.request("marked", c.until(), b"another"), "Key": canary.key}
    answer = c.bucket.send("put_object", **again)
    if answer.accepted or answer.refused:
        return Outcome(Verdict.HOLDS if answer.accepted else Verdict.BROKEN, answer.said)
    return Outcome(Verdict.UNSUPPORTED, answer.said)


def _race(c: Canaries, key: str, racers: Sequence[Racer]) -> Outcome:
    barrier = Barrier(len(racers))

    def run(racer: Racer) -> Answer:
        barrier.wait()
        return racer()

    with ThreadPoolExecutor(len(racers)) as pool:
        answers = list(pool.map(run, racers))
    return judge_race(answers, versions=len(c.versions(key)))


def _creation(c: Canaries, name: str, number: int) -> Racer:
    request = c.request(name, c.until(), f"racer {number}".encode())
    return lambda: c.bucket.send_once("put_object", **request)


def _completion(c: Canaries, name: str) -> Racer:
    lock: dict[str, Any] = {"ObjectLockMode": LOCK_MODE, "ObjectLockRetainUntilDate": c.until()}
    complete = c.upload(name, **lock, **c.bucket.encryption)
    return lambda: c.bucket.send_once("complete_multipart_upload", **complete, IfNoneMatch="*")


def _put_race(c: Canaries) -> Outcome:
    racers = [_creation(c, "put-race", number) for number in range(PUT_RACERS)]
    return _race(c, c.key("put-race"), racers)


def _rounds(
    name: str, racers: Callable[[Canaries, str], list[Racer]]
) -> Callable[[Canaries], Outcome]:
    """Several rounds at once, each on a key of its own; the worst counts."""

    def attempt(c: Canaries) -> Outcome:
        def one(number: int) -> Outcome:
            key = f"{name}-{number}"
            return _race(c, c.key(key), racers(c, key))

        with ThreadPoolExecutor(ROUNDS) as pool:
            outcomes = list(pool.map(one, range(ROUNDS)))
        worst = (Verdict.BROKEN, Verdict.UNSUPPORTED, Verdict.HOLDS)
        return min(outcomes, key=lambda outcome: worst.index(outcome.verdict))

    return attempt


def _completions(c: Canaries, name: str) -> list[Racer]:
    return [_completion(c, name) for _ in range(UPLOAD_RACERS)]


def _mixed(c: Canaries, name: str) -> list[Racer]:
    kinds = cycle((_creation, _completion))
    return [
        _creation(c, name, number) if kind is _creation else _completion(c, name)
        for number, kind in zip(range(UPLOAD_RACERS), kinds, strict=False)
    ]


def _wrong_checksum(c: Canaries) -> Outcome:
    request = c.request("wrong-checksum", c.until())
    request["ChecksumSHA256"] = checksum(b"other bytes")
    return c.not_stored(request["Key"], c.bucket.send("put_object", **request))


def _trailer(name: str, body: bytes, claimed: bytes, c: Canaries) -> RawRequest:
    """A chunked body whose checksum comes after it, as SDKs send over TLS."""
    how = c.raw_put(name, body, with_checksum=False)
    how["headers"] |= {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(body)),
        "x-amz-sdk-checksum-algorithm": "SHA256",
        "x-amz-trailer": "x-amz-checksum-sha256",
    }
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n"
    how["body"] = chunk + f"x-amz-checksum-sha256:{checksum(claimed)}\r\n\r\n".encode()
    return RawRequest(**how, payload_kind=TRAILER)


def _wrong_trailer(c: Canaries) -> Outcome:
    c.check_signing(_trailer("trailer", b"sent", b"sent", c))
    request = _trailer("wrong-trailer", b"sent", b"other bytes", c)
    return c.not_stored(request.key, c.bucket.send_raw(request))


def _altered(c: Canaries) -> Outcome:
    c.check_signing(RawRequest(**c.raw_put("unaltered", b"as it was signed")))
    # The checksum is of what arrives: only the signature tells.
    request = RawRequest(**c.raw_put("altered", b"as it arrives"), payload=b"as it was signed")
    return c.not_stored(request.key, c.bucket.send_raw(request))


def _cut(c: Canaries) -> Outcome:
    body = b"a body of which only half arrives " * 64
    c.check_signing(RawRequest(**c.raw_put("whole", body)))
    request = RawRequest(**c.raw_put("cut", body), is_cut=True)
    answer = c.bucket.send_raw(request)
    Event().wait(CUT_SETTLES_S)
    versions = len(c.versions(request.key))
    if versions == 0 and not answer.accepted:
        return Outcome(Verdict.HOLDS, f"{answer.said}, and nothing stored")
    return Outcome(Verdict.BROKEN, f"{answer.said}, and {versions} stored")


def _bogus_key(c: Canaries) -> Outcome:
    request = c.request("bogus-key", c.until())
    request |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "no-such-key-of-attestream"}
    return c.not_stored(request["Key"], c.bucket.send("put_object", **request))


CHECKS = (
    Check(
        check="D10",
        promise="If-None-Match keeps an object from being written twice",
        expected="412 or 409, and one version",
        attempt=_not_written_twice,
        needed=True,
        at_start=True,
    ),
    Check(
        check="D10",
        promise="of many writers of one name exactly one succeeds",
        expected="one accepted, one stored",
        attempt=_put_race,
        needed=True,
    ),
    Check(
        check="D10",
        promise="of many multipart uploads of one name exactly one succeeds",
        expected="one accepted, one stored",
        attempt=_rounds("upload-race", _completions),
    ),
    Check(
        check="D10",
        promise="of writers and multipart uploads of one name exactly one succeeds",
        expected="one accepted, one stored",
        attempt=_rounds("mixed-race", _mixed),
    ),
    Check(
        check="D10",
        promise="If-None-Match succeeds over a delete marker, as in AWS",
        expected="2xx",
        attempt=_over_a_marker,
    ),
    Check(
        check="D11",
        promise="a body that does not fit its SHA-256 is refused",
        expected=NOT_STORED,
        attempt=_wrong_checksum,
        needed=True,
        at_start=True,
    ),
    Check(
        check="D11",
        promise="a body cut short on its way is not stored",
        expected="nothing stored",
        attempt=_cut,
        needed=True,
    ),
    Check(
        check="D11",
        promise="a body that does not fit the checksum behind it is refused",
        expected=NOT_STORED,
        attempt=_wrong_trailer,
    ),
    Check(
        check="D11",
        promise="a body that does not fit its signature is refused",
        expected=NOT_STORED,
        attempt=_altered,
    ),
    Check(
        check="D16",
        promise="encryption with a key that does not exist is refused",
        expected=NOT_STORED,
        attempt=_bogus_key,
    ),
)
