"""An operator at work on a real broker: a key rotated over two workers, a gap accepted."""

import json
import signal
from pathlib import Path

import pytest

from tests.support.damage import trim
from tests.support.deployment import Deployment, wait_until
from tests.support.kafka_broker import KafkaBroker
from tests.support.operated import Operator

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_key_is_rotated_over_two_workers_while_they_seal(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    with Deployment(kafka.bootstrap, tmp_path, partitions=2) as at:
        operator, origins = Operator(at), [at.origin(at.decisions, n) for n in (0, 1)]
        for _ in range(2):
            at.start_worker("sealer")
        at.produce(at.decisions, [b"%d" % n for n in range(100)])
        wait_until(lambda: operator.size(origins[0]) == 50, 60, "nothing was sealed")
        (old,) = operator.vkeys()
        operator.order("keys", "add", old)
        operator.order("keys", "rotate")
        at.produce(at.decisions, [b"%d" % n for n in range(100)])
        wait_until(
            lambda: all(operator.signers(origin) == 2 for origin in origins), 60, "no overlap"
        )
        wait_until(
            lambda: "retired in" in operator.order("keys", "retire", old, check=False),
            60,
            "a log without both lines",
        )
        at.produce(at.decisions, [b"%d" % n for n in range(100)])
        wait_until(lambda: operator.size(origins[1]) == 150, 60, "sealing does not go on")
        assert operator.signers(origins[1]) == 1
        roster = at.origin(at.heads, 0)
        wait_until(lambda: operator.size(roster) >= len(origins), 30, "no heads were sealed")
        assert at.end_all(signal.SIGTERM) == {0}
        assert operator.verdict(at.decisions)["verdict"] == "intact"


def test_gap_stops_a_log_until_the_operator_accepts_it(kafka: KafkaBroker, tmp_path: Path) -> None:
    with Deployment(kafka.bootstrap, tmp_path) as at:
        operator, origin = Operator(at), at.origin(at.decisions, 0)
        worker = at.start_worker("sealer")
        at.produce(at.decisions, [b"%d" % n for n in range(10)])
        wait_until(lambda: operator.size(origin) == 10, 60, "nothing was sealed")
        nothing = operator.order("audit", "accept-gap", origin, check=False)
        assert "nothing is to be accepted" in nothing or "does not verify" in nothing
        operator.order("keys", "add", operator.vkeys()[0])
        worker.end(signal.SIGTERM)
        at.produce(at.decisions, [b"%d" % n for n in range(10)])
        trim(at, at.decisions, 15)
        worker = at.start_worker("sealer")
        wait_until(lambda: "retention took" in json.dumps(worker.status()), 60, "not stopped")
        shown = operator.order("audit", "accept-gap", origin)
        assert "\nfrom 10\nto 15\n" in shown
        wait_until(lambda: operator.size(origin) == 15, 60, "sealing does not go on")
        again = operator.order("audit", "accept-gap", origin, check=False)
        assert "nothing is to be accepted" in again
        assert operator.verdict(at.decisions)["verdict"] == "intact"
