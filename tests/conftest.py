"""Real servers for the tests that need one, one for the whole run."""

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from tests.support.kafka_broker import KafkaBroker
from tests.support.local_kafka import LocalKafka, NoBrokerError

pytest_plugins = ["tests.support.s3_fixtures", "tests.support.secure_kafka"]


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    """KAFKA_BOOTSTRAP_SERVERS where it is set, else a broker of our own."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield KafkaBroker(given)
        return
    folder = tempfile.mkdtemp(prefix="attestream-kafka-")
    try:
        with LocalKafka(folder) as local:
            yield KafkaBroker(local.bootstrap)
    except NoBrokerError as error:
        pytest.exit(str(error), returncode=3)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
