"""What each part of this process is doing, and whether it may be called ready.

A part is `(role, topic, partition)`: a sealer or a projection of one partition. Ready means: every
role has its assignment, which may be of no partition, every part is running and within its lag
limit, and every agent is at work. A stopped part says why, in one sentence.
"""

from dataclasses import dataclass, field

from streams.telemetry import metrics

__all__ = ["Health", "Part", "PartState"]

Part = tuple[str, str, int]


@dataclass(slots=True, kw_only=True)
class PartState:
    """One part: `state` is starting, running, waiting or stopped; `why` explains the last two.

    `done` is the end offset up to which everything was finished, None while work is under way.
    """

    state: str = "starting"
    why: str = ""
    kind: str = ""
    lag: int = 0
    lag_limit: int | None = None
    done: int | None = None

    @property
    def problem(self) -> str:
        """Why this part is not ready, or an empty string."""
        if self.state != "running":
            return f"{self.state}: {self.why}" if self.why else self.state
        if self.lag_limit is not None and self.lag > self.lag_limit:
            return f"lags {self.lag} records, limit {self.lag_limit}"
        return ""


@dataclass(slots=True)
class Health:
    """The parts of one process. Used from one event loop."""

    parts: dict[Part, PartState] = field(default_factory=dict)
    roles: dict[str, bool] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    _waiting: set[Part] = field(default_factory=set)

    def joining(self, role: str) -> None:
        """The role waits to be told which partitions are its own."""
        self.roles[role] = False

    def joined(self, role: str) -> None:
        """The role knows its partitions."""
        self.roles[role] = True

    def agent(self, name: str, problem: str = "") -> None:
        """What keeps an agent from its work, or that nothing does."""
        self.agents[name] = problem

    def note(self, role: str, what: str) -> None:
        """What whoever looks should know of a role, though it is as it was set; empty: nothing."""
        self.notes[role] = what

    def starting(self, part: Part, *, lag_limit: int | None = None) -> None:
        """The part is recovering: not ready yet."""
        self.parts[part] = PartState(lag_limit=lag_limit)

    def running(self, part: Part, *, lag: int | None = None, done: int | None = None) -> None:
        """The part does its work, `lag` records behind, and has finished up to `done`."""
        state = self.parts.setdefault(part, PartState())
        self._wait(part, waits=False)
        state.state, state.why = "running", ""
        state.lag = state.lag if lag is None else lag
        state.done = state.done if done is None else done

    def waiting(self, part: Part, why: str) -> None:
        """The part waits for the outside world and will go on by itself."""
        state = self.parts.setdefault(part, PartState())
        self._wait(part, waits=True)
        state.state, state.why = "waiting", why

    def stopped(self, part: Part, kind: str, why: str) -> None:
        """The part is stopped by a verdict until an operator acts: this pages."""
        state = self.parts.setdefault(part, PartState())
        self._wait(part, waits=False)
        state.state, state.why, state.kind = "stopped", why, kind
        metrics.PARTITION_STOPPED.labels(part[1], part[2], part[0], kind).set(1)

    def released(self, part: Part) -> None:
        """The part is not ours any more."""
        self._wait(part, waits=False)
        state = self.parts.pop(part, None)
        if state is not None and state.state == "stopped":
            metrics.PARTITION_STOPPED.remove(part[1], str(part[2]), part[0], state.kind)

    def _wait(self, part: Part, *, waits: bool) -> None:
        # A start in between is no end of the waiting: most waits are a start that fails again.
        if waits is (part in self._waiting):
            return
        role, topic, partition = part
        if waits:
            self._waiting.add(part)
            metrics.PARTITION_WAITING.labels(topic, partition, role).set(1)
        else:
            self._waiting.discard(part)
            metrics.PARTITION_WAITING.remove(topic, str(partition), role)

    def problems(self) -> list[str]:
        """One sentence for each role, part and agent that is not ready."""
        if not self.roles:
            return ["starting"]
        waiting = [
            f"{role} waits for its partitions"
            for role, joined in sorted(self.roles.items())
            if not joined
        ]
        parts = [
            f"{role} of {topic}/{partition} {state.problem}"
            for (role, topic, partition), state in sorted(self.parts.items())
            if state.problem
        ]
        agents = [f"agent {name} {why}" for name, why in sorted(self.agents.items()) if why]
        return waiting + parts + agents
