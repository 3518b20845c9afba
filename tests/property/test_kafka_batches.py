"""What a producer packs is what a reader takes out, whatever the pages and the codec."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.records import Record
from streams.kafka.batches import Batches
from tests.support.record_batches import BatchKind, record_batch

OPTIONAL = st.none() | st.binary(max_size=40)
HEADERS = st.lists(st.tuples(st.binary(max_size=8), OPTIONAL), max_size=3).map(tuple)
RECORDS = st.builds(
    Record,
    offset=st.just(0),
    timestamp=st.integers(-1, 2**45),
    key=OPTIONAL,
    value=OPTIONAL,
    headers=HEADERS,
)
BATCHES = st.lists(
    st.tuples(st.lists(RECORDS, min_size=1, max_size=6), st.sampled_from([0, 0, 1, 2, 3, 4])),
    max_size=5,
)


@given(batches=BATCHES, start=st.integers(0, 2**40), page=st.integers(1, 9), skip=st.data())
def test_pages_of_any_batches_join_to_what_was_packed(
    batches: list[tuple[list[Record], int]], start: int, page: int, skip: st.DataObject
) -> None:
    data, packed, offset = b"", list[Record](), start
    for records, codec in batches:
        placed = [record._replace(offset=offset + at) for at, record in enumerate(records)]
        data += record_batch(placed, BatchKind(base_offset=offset, codec=codec))
        packed += placed
        offset += len(placed)
    first = skip.draw(st.integers(0, len(batches[0][0]) - 1)) if batches else 0
    reading = Batches(data, start + first, dense=True)
    assert reading.end == offset if batches else reading.end == start
    taken: list[Record] = []
    while rows := reading.take(page):
        assert len(rows) <= page
        taken += rows
        assert reading.next_offset == taken[-1].offset + 1
    assert taken == packed[first:]
