"""What happens to a world from outside: producers, retention, operators, and damage."""

from streams.anchors import AnchorStore
from streams.audit.operations import EpochForked, GapAccepted
from streams.ports import NewRecord
from tests.fault.simulator.adapters import immediate
from tests.fault.simulator.workers import Deployment, Worker
from tests.fault.simulator.world import WORKERS, World

__all__ = ["Actions"]

STORE_CALLS = {"claim", "anchor", "objects"}
START_MS = 1_700_000_000_000
PRODUCER = 1
FORKED = {"source_changed", "rollback", "identity", "broken"}  # stops that nothing else ends


class Actions:
    """The actions a mix gives weights to; each is a method of its name."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._serial = 0
        self._weights: dict[str, float] = {}
        self._idle_s = 0.0

    def begin(self, d: Deployment) -> None:
        """The source before anybody looked at it, then the first processes."""
        chance = self._world.chance
        self.records(d, chance.randrange(5))
        if chance.random() < 0.3:
            d.source.trim(chance.randrange(3))
        if self._world.mix.table:
            self.records(d, 5)
        for slot in range(WORKERS):
            self._world.start(d, slot)

    def begin_to_choose(self, *, damages: bool) -> None:
        """Whether damages are among what may happen now."""
        mix = self._world.mix
        self._weights = {**mix.actions, **(mix.damages if damages else {})}

    def any_one(self) -> None:
        """One action by weight."""
        self._idle_s = 0.0
        self._do(self._world.chance.choices(list(self._weights), list(self._weights.values()))[0])

    def damage(self) -> None:
        """Something that a sealer must notice, with records around it."""
        chance, damages = self._world.chance, self._world.mix.damages
        for d in self._world.logs:
            if chance.random() < 0.5:
                self.records(d)
        self._do(chance.choices(list(damages), list(damages.values()))[0])

    def _do(self, name: str) -> None:
        d = self._world.chance.choice(self._world.logs)
        self._world.say(f"world: {name}")
        getattr(self, name)(d)
        self._world.say(f"    source {d.source.bounds()}, audit {d.audit.bounds()}")

    def pause_s(self) -> float:
        """How long to wait before the next one."""
        return self._idle_s or self._world.chance.expovariate(1 / 0.6)

    # Producers and retention

    def records(self, d: Deployment, count: int | None = None) -> None:
        d.source.append(self._rows(self._world.chance.randint(1, 4) if count is None else count))

    def transaction(self, d: Deployment) -> None:
        """A producer's transaction: committed or aborted, now or after a while."""
        chance = self._world.chance
        d.source.append(self._rows(chance.randint(1, 3)), PRODUCER)
        commits = chance.random() < 0.6
        if chance.random() < 0.5:
            d.source.mark(PRODUCER, commits=commits)
        else:
            self._world.loop.later(chance.uniform(0, 3), self._mark, d, commits)

    def trim(self, d: Deployment) -> None:
        """Retention passes what is sealed, and markers that the position has passed."""
        if d.laws.has_begun:
            d.source.trim(self._world.chance.randint(d.source.start, self._may_trim(d)))

    def trim_blindly(self, d: Deployment) -> None:
        if d.laws.has_begun:
            start = d.source.start + self._world.chance.randint(1, 6)
            if min(start, d.source.end) > self._may_trim(d):
                d.laws.damages.add("trimmed")
            d.source.trim(start)

    def leave_markers(self, d: Deployment) -> None:
        """The last thing in the source is a transaction that nobody reads."""
        if not d.laws.damages:
            d.source.append(self._rows(1), PRODUCER)
            d.source.mark(PRODUCER, commits=False)

    def trim_all_sealed(self, d: Deployment) -> None:
        """Retention takes everything of a source that was sealed long ago."""
        if not d.laws.damages and d.laws.is_sealed:
            self._world.say("world: retention passes all that is sealed")
            d.source.trim(d.source.end)

    def forget_position(self, d: Deployment) -> None:
        """The group's offsets expire."""
        d.group.posted = None
        if d.source.start > d.laws.next_offset:
            d.laws.damages.add("position lost")

    def elect(self, d: Deployment) -> None:
        """Leadership moves, and nothing is lost."""
        d.source.elect()

    def operate(self, root: Deployment) -> bool:
        """The operator aborts what hangs, accepts gaps, forks; whether there was anything."""
        d = root.open
        if d.audit.end < d.audit.high_watermark and d.coordinator.is_idle:
            self._world.say("operator: aborts what hangs")
            d.coordinator.abort_hanging()
            return True
        verdicts = immediate(AnchorStore(self._world.store, retain_days=1).verdicts(d.origin))
        for verdict in verdicts:
            if verdict.reason == "gap" and not verdict.is_answered(d.origin, d.history):
                left = d.source.start
                self._world.say(f"operator: accepts the gap from {verdict.offset} to {left}")
                gap = GapAccepted(
                    origin=d.origin, size=verdict.size, expected=verdict.offset, left=left
                )
                d.history.apply(gap)
                d.laws.accepted_gap(verdict.offset, left)
                return True
        return self._forks(root)

    def _forks(self, root: Deployment) -> bool:
        """The operator forks what stopped for good, at what the log has signed."""
        d, reason = root.open, self._world.reason(root)
        if not self._world.mix.forks or reason not in FORKED:
            return False
        size = d.laws.signed_size
        fork = EpochForked(
            origin=d.origin,
            size=size,
            root=d.laws.roots[size],
            epoch=len(root.later) + 1,
            cluster_id="cluster",
            topic_id=d.source.topic_id,
            offset=d.source.start if reason == "identity" else d.laws.first_unsealed(size),
        )
        self._world.say(f"operator: forks {d.origin} at {size}, from offset {fork.offset} on")
        self._world.fork(d, fork)
        return True

    # Processes

    def rebalance(self, d: Deployment) -> None:
        d.group.move()

    def crash(self, _d: Deployment) -> None:
        self._world.crash(self._anyone())

    def zombie(self, d: Deployment) -> None:
        self._world.pause(self._anyone())
        self._world.loop.later(self._world.chance.uniform(0, 3), d.group.move)

    def idle(self, _d: Deployment) -> None:
        self._idle_s = self._world.chance.choice((5.0, 20.0, 70.0))

    def outage(self, _d: Deployment) -> None:
        """The object store cannot be reached for a while."""
        network = self._world.network
        network.unreachable |= STORE_CALLS
        lasts = self._world.chance.uniform(1, 30)
        self._world.loop.later(lasts, network.unreachable.difference_update, STORE_CALLS)

    # Damage

    def lose_records(self, d: Deployment) -> None:
        """Retention takes what nobody had time to seal: a verdict is due."""
        d.laws.damages.add("trimmed")
        self.records(d, 3)
        d.source.trim(d.source.end)

    def cut_source(self, d: Deployment) -> None:
        """Another leader has less of the source; producers go on."""
        low, end = max(d.source.start, d.laws.next_offset - 4), d.source.high_watermark
        if d.laws.has_begun and low < end:
            self._source_changed(d, "cut")
            at = self._world.chance.randrange(low, end)
            d.laws.cut_at = at if d.laws.cut_at is None else min(at, d.laws.cut_at)
            d.source.cut(at)
            d.laws.source_lost(d.source.start, d.source.readable(d.source.start))
            self.records(d, self._world.chance.randrange(5))

    def recreate_source(self, d: Deployment) -> None:
        """The topic is deleted and made again, under the same name."""
        if d.laws.has_begun:
            self._source_changed(d, "recreated")
            d.source.recreate()
            d.laws.truth.clear()
            self.records(d, self._world.chance.randrange(7))

    def compact_source(self, d: Deployment) -> None:
        """Somebody switches compaction on, and a record inside the log goes."""
        source = d.source
        if d.laws.has_begun and source.end > source.start + 1:
            self._source_changed(d, "compacted")
            source.policy = "compact"
            source.take_away(self._world.chance.randrange(source.start, source.end - 1))
            d.laws.source_lost(source.start, source.readable(source.start))

    def cut_audit(self, d: Deployment) -> None:
        """Another leader has less of the audit partition."""
        if d.laws.has_begun:
            d.laws.damages.add("audit cut")
            d.laws.sent(d.coordinator.open_rows())
            d.audit.cut(d.audit.high_watermark - self._world.chance.randint(1, 8))
            d.laws.rebuilt(d.audit.readable())
            if d.coordinator.is_committing and (rows := d.coordinator.open_rows()):
                d.laws.decided(rows)  # of what is left of it

    def _source_changed(self, d: Deployment, damage: str) -> None:
        d.laws.damages.add(damage)
        d.laws.damaged_at = self._world.loop.time()

    def _mark(self, d: Deployment, commits: bool) -> None:
        d.source.mark(PRODUCER, commits=commits)

    def _may_trim(self, d: Deployment) -> int:
        laws, posted = d.laws, d.group.posted
        passed = posted.offset if posted and posted.size == len(laws.leaves) else 0
        most = min(max(laws.next_offset, passed), d.source.end)
        if laws.cut_at is not None and not self._is_judged(d):
            # Retention is longer than a sealer takes to look: it does not pass what nobody saw.
            most = min(most, laws.cut_at)
        return max(d.source.start, most)

    def _is_judged(self, d: Deployment) -> bool:
        return bool(immediate(AnchorStore(self._world.store, retain_days=1).verdicts(d.origin)))

    def _anyone(self) -> Worker:
        workers = self._world.workers
        return workers[self._world.chance.choice(sorted(workers))]

    def _rows(self, count: int) -> list[NewRecord]:
        rows = []
        for _ in range(count):
            self._serial += 1
            timestamp = -1 if self._serial % 7 == 0 else START_MS + self._serial
            rows.append(NewRecord(timestamp, b"event %d" % self._serial, b"k"))
        return rows
