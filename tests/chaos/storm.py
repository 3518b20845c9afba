"""Workers killed, stopped, woken and replaced at random while they seal, and brokers with them.

Acts come from a shuffled deck that is dealt whole at least once, so that even a short storm has
each of them; a seed gives the same acts, though not the same moments.
"""

import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.deployment import Deployment, Worker
from tests.support.local_kafka import LocalKafka

__all__ = ["Plan", "Storm"]

EVENT = re.compile(
    r'"event": "(fenced|partition let go|recovering|partition stopped|joining the group again)"'
)
WORKERS_MAX = 4


class Plan(NamedTuple):
    """What a storm is: for how long, the acts of its deck, how long zombies sleep, the pauses."""

    seconds: float
    deck: tuple[str, ...]
    sleep_s: tuple[float, float]
    pause_s: tuple[float, float]


@dataclass(slots=True)
class Storm:
    """Runs over a deployment whose workers it starts; `tally` counts what was done and seen."""

    kafka: LocalKafka
    deployment: Deployment
    plan: Plan
    dice: random.Random
    tally: Counter[str] = field(default_factory=Counter)
    running: list[Worker] = field(default_factory=list)
    asleep: list[tuple[float, Worker]] = field(default_factory=list)
    died: list[str] = field(default_factory=list)

    def rage(self) -> None:
        """Deal acts until the time is over and the whole deck was dealt, then wake everybody."""
        acts: dict[str, Callable[[], None]] = {
            "worker SIGKILL": self._kill,
            "worker SIGSTOP, SIGCONT": self._put_to_sleep,
            "worker SIGTERM": self._end,
            "one worker fewer": self._leave,
            "one worker more": self._join,
            "broker restart": self._restart_broker,
            "broker SIGKILL": self._kill_broker,
        }
        deadline = time.monotonic() + self.plan.seconds
        deck = self._shuffled()
        while deck or time.monotonic() < deadline:
            deck = deck or self._shuffled()
            act = deck.pop()
            acts[act]()
            self.tally[act] += 1
            self._watch(self.dice.uniform(*self.plan.pause_s))
        self._wake(all_of_them=True)

    def start(self, count: int) -> None:
        for _ in range(count):
            self.running.append(self.deployment.start_worker("sealer"))

    def heard(self) -> Counter[str]:
        """What the workers' log lines tell of, by event."""
        texts = (worker.log.read_text(errors="replace") for worker in self.deployment.workers)
        return Counter(event for text in texts for event in EVENT.findall(text))

    def _shuffled(self) -> list[str]:
        return self.dice.sample(self.plan.deck, len(self.plan.deck))

    def _kill(self) -> None:
        worker = self._anybody()
        self.running.remove(worker)
        worker.end(signal.SIGKILL)
        self.start(1)

    def _put_to_sleep(self) -> None:
        worker = self._anybody()
        worker.process.send_signal(signal.SIGSTOP)
        until = time.monotonic() + self.dice.uniform(*self.plan.sleep_s)
        self.asleep.append((until, worker))

    def _end(self) -> None:
        self._leave()
        self.start(1)

    def _leave(self) -> None:
        worker = self._anybody()
        self.running.remove(worker)
        # Before its page answers it is still being loaded, and ends as any program does.
        is_up = bool(worker.status())
        try:
            status = worker.end(signal.SIGTERM)
        except subprocess.TimeoutExpired:
            worker.end(signal.SIGKILL)
            self.died.append(f"{worker.log.name}: did not end after SIGTERM")
        else:
            if status and (is_up or status != -signal.SIGTERM):
                self.died.append(f"{worker.log.name}: SIGTERM, status {status}")
        if not self.running:
            self.start(1)

    def _join(self) -> None:
        if len(self.running) < WORKERS_MAX:
            self.start(1)

    def _restart_broker(self) -> None:
        self.kafka.restart(self.dice.choice(list(self.kafka.nodes)))

    def _kill_broker(self) -> None:
        node = self.dice.choice(list(self.kafka.nodes))
        self.kafka.kill(node)
        self._watch(self.dice.uniform(0, 2))
        self.kafka.start(node)

    def _anybody(self) -> Worker:
        """A worker that is awake."""
        dreaming = [worker for _, worker in self.asleep]
        awake = [worker for worker in self.running if worker not in dreaming]
        if not awake:
            self._wake(all_of_them=True)
            awake = self.running
        return self.dice.choice(awake)

    def _watch(self, seconds: float) -> None:
        """Let time pass: wake who is due, replace who ended without being told to."""
        deadline = time.monotonic() + seconds
        while True:
            self._wake()
            for worker in list(self.running):
                if (status := worker.process.poll()) is not None:
                    self.died.append(f"{worker.log.name}: ended by itself, status {status}")
                    self.running.remove(worker)
                    self.start(1)
            if time.monotonic() >= deadline:
                return
            time.sleep(0.05)

    def _wake(self, *, all_of_them: bool = False) -> None:
        now = time.monotonic()
        due = [(at, worker) for at, worker in self.asleep if all_of_them or at <= now]
        for pair in due:
            pair[1].process.send_signal(signal.SIGCONT)
            self.asleep.remove(pair)
