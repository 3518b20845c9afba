"""A producer beside the storm: librdkafka, idempotent, at a steady rate over all partitions."""

import threading
import time
from collections import Counter

import confluent_kafka

__all__ = ["Feeder", "numbered"]

PADDING = b"x" * 280
DELIVERY_MS = 120_000


def numbered(partition: int, number: int) -> bytes:
    """The value of the `number`-th event of a partition."""
    return b"%d.%d." % (partition, number) + PADDING


class Feeder(threading.Thread):
    """Sends until it is told to stop; then everything sent is acknowledged, or has failed."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, rate: int) -> None:
        super().__init__(name="feeder", daemon=True)
        self.acknowledged = Counter[int]()
        self.failed = 0
        self._settings = {
            "bootstrap.servers": bootstrap,
            "linger.ms": 10,
            "enable.idempotence": True,
            "delivery.timeout.ms": DELIVERY_MS,
            "log_level": 0,
        }
        self._topic = topic
        self._partitions = partitions
        self._rate = rate
        self._ending = threading.Event()

    def run(self) -> None:
        producer = confluent_kafka.Producer(self._settings)
        began, sent = time.monotonic(), 0
        while not self._ending.is_set():
            due = int((time.monotonic() - began) * self._rate)
            while sent < due:
                number, partition = divmod(sent, self._partitions)
                try:
                    producer.produce(
                        self._topic,
                        numbered(partition, number),
                        key=b"k%d" % (sent % 97),
                        partition=partition,
                        on_delivery=self._told,
                    )
                except BufferError:
                    break  # what is on its way comes first
                sent += 1
            producer.poll(0.01)
        producer.flush(DELIVERY_MS / 1000)

    def stop(self) -> None:
        self._ending.set()
        self.join()

    def _told(self, error: object, message: confluent_kafka.Message) -> None:
        if error is None:
            self.acknowledged[message.partition() or 0] += 1
        else:
            self.failed += 1
