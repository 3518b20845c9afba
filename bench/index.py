"""How large and how fast the decision index is: `python -m bench index`.

The decisions are those of `bench.streams.generated`, as many as it takes for so many different
ones. What memory a form takes is measured in a process of its own, as what it has resident more
than before: rows, graph, keys, words and counts together. Raw hnswlib gets the same vectors in the
same process. Every time is of one core.
"""

import asyncio
import gc
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import hnswlib
import numpy as np
from numpy.typing import NDArray

from bench import streams
from bench.detection import features_of_line, sealed
from projections.decision_index.embedding import Features, digest_of, embed
from projections.decision_index.fold import DecisionFold
from projections.decision_index.graph import FOLDED, FoldedGraph
from projections.decision_index.index import TIERS, DecisionRows
from projections.decision_index.projection import CHUNK_EVALUATIONS, MERGE_ROWS
from projections.decision_index.scoring import Rules
from projections.decision_index.sparse import dense
from projections.hnsw import GRAPH

ROWS = 100_000
MANY = 1_000_000
QUERIES = 1000
EXACT_QUERIES = 200
FORMS = {"compact": FOLDED, "full": 384}
TICK_S = 0.001
RULES = Rules(alerts_per_hour=100_000, dedup_window_ms=1)

Pair = tuple[float, float]


class Measured(NamedTuple):
    """An index of a form: megabytes resident, recall of the nearest, and microseconds."""

    megabytes: float
    recall: float
    add_us: float
    search_us: Pair
    exact_us: Pair
    raw_add_us: float
    raw_search_us: Pair


def report(*, quick: bool) -> list[str]:
    """The Markdown lines of all tables."""
    rows = 20_000 if quick else ROWS
    return [*form_table(rows), "", *stream_table(rows), "", *loop_table(rows)]


def report_million(*, quick: bool) -> list[str]:
    """The Markdown lines of a million rows: a quarter of an hour, nearly all of it the graph."""
    return many_table(MANY // 20 if quick else MANY)


def form_table(rows: int) -> list[str]:
    columns = ["form", "resident", "bytes a row", "recall@1", "add µs a row", "raw `add_items` µs"]
    columns += ["search µs p50 / p99", "raw `knn_query` µs p50 / p99", "exact µs p50 / p99"]
    lines = [f"{rows:,} different decisions:", "", *header(columns)]
    for form, width in FORMS.items():
        m = Measured(*in_fresh_process("form", rows, width))
        size = f"{m.megabytes:.1f} MB | {m.megabytes * 1e6 / rows:.0f}"
        adding = f"{m.add_us:.0f} | {m.raw_add_us:.0f}"
        searching = f"{pair(m.search_us)} | {pair(m.raw_search_us)} | {pair(m.exact_us)}"
        lines.append(
            f"| {form}, {width} columns | {size} | {m.recall:.3f} | {adding} | {searching} |"
        )
    return lines


def stream_table(rows: int) -> list[str]:
    decisions, rate, p50, p99, merge_us, confirmed = in_fresh_process("stream", rows, FOLDED)
    columns = ["stream", "decisions", "decisions/s, graph included"]
    columns += ["score and learn one, µs p50 / p99", "graph, µs a row", "compared with every row"]
    cells = [f"{rows:,} different decisions", f"{decisions:,}", f"{rate:,.0f}"]
    cells += [pair((p50, p99)), f"{merge_us:.0f}", f"{confirmed:,}"]
    return [*header(columns), f"| {' | '.join(cells)} |"]


def loop_table(rows: int) -> list[str]:
    columns = ["rows go into the graph", "decisions/s", "another task waits, ms p50 / p99 / most"]
    lines = header(columns)
    for where in ("beside the loop", "on the loop"):
        rate, p50, p99, most = in_fresh_process(where, rows // 2, FOLDED)
        lines.append(f"| {where} | {rate:,.0f} | {p50:.1f} / {p99:.1f} / {most:.1f} |")
    return lines


def many_table(rows: int) -> list[str]:
    m = Measured(*in_fresh_process("many", rows, FOLDED))
    columns = ["rows", "resident", "recall@1", "search µs p50 / p99", "exact µs p50 / p99"]
    found = f"{m.megabytes:,.0f} MB | {m.recall:.3f} | {pair(m.search_us)} | {pair(m.exact_us)}"
    return [*header(columns), f"| {rows:,}, compact | {found} |"]


def header(columns: list[str]) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def pair(times: Pair) -> str:
    return f"{times[0]:.0f} / {times[1]:.0f}"


def in_fresh_process(part: str, rows: int, width: int) -> Any:  # noqa: ANN401  # JSON
    command = [sys.executable, "-m", "bench.index", part, str(rows), str(width)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def different(count: int) -> Iterator[Features]:
    """Different decisions, in the order of the stream."""
    seen: set[bytes] = set()
    # One seed of the stream has not a million different ones.
    lines = (streams.generated(seed, 4 * count + 40_000, warm=0) for seed in itertools.count())
    for row in itertools.chain.from_iterable(lines):
        features = features_of_line(row)
        digest = digest_of(features)
        if digest not in seen:
            seen.add(digest)
            yield features


def folded_rows(width: int, graph_from: int = TIERS.graph_from) -> DecisionRows:
    tiers = TIERS._replace(graph_from=graph_from)
    return DecisionRows(lambda: FoldedGraph(GRAPH, width), tiers)


def resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def measure_form(count: int, width: int, *, raw: bool) -> Measured:
    *decisions, _ = islice(different(count + QUERIES), count + QUERIES + 1)
    fold = DecisionFold(RULES, lambda: folded_rows(width))
    fold.apply(sealed(0, line_of(decisions[0])))  # whatever is made once is made
    fold, before = DecisionFold(RULES, lambda: folded_rows(width)), resident()
    for leaf, features in enumerate(decisions[:count]):
        fold.apply(sealed(leaf, line_of(features)))
    began = time.perf_counter()
    while fold.unmerged:
        fold.merge(MERGE_ROWS)
    add_us = (time.perf_counter() - began) / count * 1e6
    megabytes, rows = (resident() - before) / 1e6, fold.tenant("").rows

    def search(vector: Any) -> float:  # noqa: ANN401  # as timed
        return max(rows.similar_hot(vector), rows.similar_candidates(vector))

    queries = [embed(features) for features in decisions[count:]]
    found = [search(vector) >= rows.nearest(vector, 1)[0].similarity for vector in queries]
    exact = timed(lambda vector: rows.nearest(vector, 1), queries[:EXACT_QUERIES])
    raw_add, raw_search = 0.0, (0.0, 0.0)
    if raw:
        folded = np.array([folded_to(width, features) for features in decisions], np.float32)
        raw_add, raw_search = raw_hnswlib(folded[:count], folded[count:])
    recall = float(np.mean(found))
    return Measured(megabytes, recall, add_us, timed(search, queries), exact, raw_add, raw_search)


def line_of(features: Features) -> dict[str, Any]:
    return {**features._asdict(), "roles": list(features.roles), "id": "x"}


def folded_to(width: int, features: Features) -> NDArray[np.int64]:
    return dense(embed(features)).reshape(-1, width).sum(axis=0)


def raw_hnswlib(rows: NDArray[np.float32], queries: NDArray[np.float32]) -> tuple[float, Pair]:
    """Bare hnswlib: as many rows at a time, as many neighbours asked for."""
    index = hnswlib.Index(space="cosine", dim=rows.shape[1])
    index.init_index(len(rows), M=GRAPH.m, ef_construction=GRAPH.ef_construction)
    index.set_num_threads(1)
    index.set_ef(GRAPH.ef)
    began = time.perf_counter()
    for first in range(0, len(rows), MERGE_ROWS):
        index.add_items(rows[first : first + MERGE_ROWS])
    add_us = (time.perf_counter() - began) / len(rows) * 1e6
    return add_us, timed(lambda query: index.knn_query(query, k=GRAPH.k), list(queries))


def measure_stream(count: int, width: int) -> tuple[float, ...]:
    """Every decision of a stream that has so many different ones, scored and learned."""
    fold = DecisionFold(RULES, lambda: folded_rows(width))
    spent: list[float] = []
    merging, merged = 0.0, 0
    for index, line in enumerate(streams.generated(0, 4 * count, warm=0)):
        record = sealed(index, line)
        began = time.perf_counter()
        fold.learn(fold.score(record))
        spent.append(time.perf_counter() - began)
        if index % CHUNK_EVALUATIONS == 0 and fold.unmerged:
            began, unmerged = time.perf_counter(), fold.tenant("").rows.unmerged
            fold.merge(MERGE_ROWS)
            merging += time.perf_counter() - began
            merged += unmerged - fold.tenant("").rows.unmerged
        if fold.rows >= count:
            break
    p50, p99 = np.percentile(np.array(spent) * 1e6, [50, 99])
    rate = len(spent) / (sum(spent) + merging)
    merge_us = merging / max(merged, 1) * 1e6
    return len(spent), rate, float(p50), float(p99), merge_us, fold.tallies.confirmed


async def measure_loop(count: int, width: int, *, beside: bool) -> tuple[float, ...]:
    """How late another task of the loop wakes while so many rows are learned and merged."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            late.append(time.perf_counter() - due)

    records = [sealed(leaf, line_of(f)) for leaf, f in enumerate(islice(different(count), count))]
    fold = DecisionFold(RULES, lambda: folded_rows(width, graph_from=1000))
    ticking = asyncio.create_task(tick())
    began = time.perf_counter()
    for leaf, record in enumerate(records):
        fold.apply(record)
        if leaf % CHUNK_EVALUATIONS == 0:
            if fold.unmerged and beside:
                await asyncio.to_thread(fold.merge, MERGE_ROWS)
            else:
                fold.merge(MERGE_ROWS)
                await asyncio.sleep(0)
    rate = count / (time.perf_counter() - began)
    ticking.cancel()
    p50, p99 = np.percentile(np.array(late) * 1e3, [50, 99])
    return rate, float(p50), float(p99), max(late) * 1e3


def timed(work: Callable[[Any], object], arguments: list[Any]) -> Pair:
    """Microseconds a call: median and 99th percentile."""
    spent = np.zeros(len(arguments))
    for place, argument in enumerate(arguments):
        began = time.perf_counter()
        work(argument)
        spent[place] = time.perf_counter() - began
    p50, p99 = np.percentile(spent * 1e6, [50, 99])
    return float(p50), float(p99)


def main() -> None:
    part, rows, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    found: Any
    if part == "stream":
        found = measure_stream(rows, width)
    elif part.endswith("the loop"):
        found = asyncio.run(measure_loop(rows, width, beside=part.startswith("beside")))
    else:
        found = measure_form(rows, width, raw=part == "form")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
