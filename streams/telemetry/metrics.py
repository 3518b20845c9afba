"""Every Prometheus metric, once. Names that operators of such systems know are kept.

docs/reference/metrics.md documents each; a test compares.
"""

from prometheus_client import Counter, Gauge, Histogram

__all__ = [
    "ANOMALY_ALERTS",
    "ANOMALY_CHECKS",
    "ARCHIVE_OLDEST",
    "CHECKPOINT_AGE",
    "DEAD_LETTERS",
    "DRILL_AGE",
    "EMBEDDING_DROPPED",
    "EMBEDDING_PROCESSED",
    "EMBEDDING_QUEUE",
    "LOG_EPOCH",
    "MEMORIES_REJECTED",
    "PARTITION_STOPPED",
    "PARTITION_WAITING",
    "PROJECTION_LAG",
    "SCHEMA_ANSWERS",
    "SCHEMA_REFERENCES_HELD_BACK",
    "SEALED_RECORDS",
    "SIGN_DURATION",
    "SNAPSHOT_AGE",
    "SNAPSHOT_DURATION",
    "SNAPSHOT_FAILURES",
    "SNAPSHOT_SIZE",
    "SOURCE_LAG",
    "TAIL_RECORDS",
    "VECTOR_INSERT",
    "VECTOR_MEMORY",
    "VECTOR_SEARCH",
    "VECTOR_STORE_SIZE",
    "WITHHELD_FINDINGS",
]

_FAST = (0.00001, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)

SEALED_RECORDS = Counter(
    "attestream_sealed_records_total", "Source records sealed", ["topic", "partition"]
)
TAIL_RECORDS = Gauge(
    "attestream_tail_records",
    "Committed records no checkpoint covers yet",
    ["topic", "partition"],
)
CHECKPOINT_AGE = Gauge(
    "attestream_checkpoint_age_seconds",
    "How long the oldest record of the tail has waited for a checkpoint, 0 without a tail",
    ["topic", "partition"],
)
SOURCE_LAG = Gauge(
    "attestream_source_lag_records",
    "Offsets between the source's end and the next one to seal",
    ["topic", "partition"],
)
SIGN_DURATION = Histogram(
    "attestream_sign_duration_seconds", "Time of one signature", buckets=_FAST
)
LOG_EPOCH = Gauge(
    "attestream_log_epoch",
    "Which epoch of the partition's log is sealed here: how often an operator forked it",
    ["topic", "partition"],
)
PARTITION_STOPPED = Gauge(
    "attestream_partition_stopped",
    "1 while a partition is stopped by a verdict",
    ["topic", "partition", "role", "reason"],
)
PARTITION_WAITING = Gauge(
    "attestream_partition_waiting",
    "1 while a partition waits for a server or a permission, and goes on by itself",
    ["topic", "partition", "role"],
)
PROJECTION_LAG = Gauge(
    "attestream_projection_lag_records",
    "Offsets between an audit partition's end and what a projection has read",
    ["projection", "topic", "partition"],
)
ARCHIVE_OLDEST = Gauge(
    "attestream_archive_oldest_unarchived_seconds",
    "Age of the oldest record of the log that is not archived yet, 0 when all are",
    ["topic", "partition"],
)
DRILL_AGE = Gauge(
    "attestream_drill_age_seconds", "Age of the last recovery drill that passed and is sealed"
)
DEAD_LETTERS = Counter(
    "attestream_dead_letters_total", "Sealed events no reader can use", ["topic", "reason"]
)
MEMORIES_REJECTED = Counter(
    "attestream_memories_rejected_total", "Memories that do not fit their namespace"
)
SCHEMA_ANSWERS = Counter(
    "attestream_schema_answers_total", "Answers of a schema registry recorded", ["usable"]
)
SCHEMA_REFERENCES_HELD_BACK = Counter(
    "attestream_schema_references_held_back_total",
    "Schema references that were not asked for: a log may name only so many new ones",
)
EMBEDDING_QUEUE = Gauge(
    "authz_embedding_worker_queue_size", "Sealed records in hand that were not scored yet"
)
EMBEDDING_DROPPED = Counter(
    "authz_embedding_worker_dropped_total", "Sealed records that are no decision a reader can use"
)
EMBEDDING_PROCESSED = Counter(
    "authz_embedding_worker_processed_total", "Evaluations embedded, scored and learned"
)
VECTOR_INSERT = Histogram(
    "authz_vector_insert_duration_seconds", "Time to learn one evaluation", buckets=_FAST
)
VECTOR_SEARCH = Histogram(
    "authz_vector_search_duration_seconds", "Time to score one evaluation", buckets=_FAST
)
VECTOR_STORE_SIZE = Gauge("authz_vector_store_size_total", "Distinct rows in the index")
VECTOR_MEMORY = Gauge("authz_vector_memory_bytes", "Memory of the index, estimated")
ANOMALY_CHECKS = Counter("authz_anomaly_detection_checks_total", "Evaluations scored")
ANOMALY_ALERTS = Counter("authz_anomaly_detection_total", "Alerts published", ["severity"])
WITHHELD_FINDINGS = Counter(
    "attestream_findings_withheld_total", "Findings counted and not published", ["why"]
)
SNAPSHOT_AGE = Gauge(
    "attestream_snapshot_age_seconds",
    "Age of the newest snapshot, 0 while it has everything that was applied",
    ["projection", "topic", "partition"],
)
SNAPSHOT_SIZE = Gauge(
    "attestream_snapshot_size_bytes",
    "Stored bytes of the newest snapshot, chunks of earlier ones that it names included",
    ["projection", "topic", "partition"],
)
SNAPSHOT_DURATION = Histogram(
    "attestream_snapshot_duration_seconds",
    "Time to take one snapshot, beside the projection",
    ["projection"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
SNAPSHOT_FAILURES = Counter(
    "attestream_snapshot_upload_failures_total",
    "Snapshots that could not be taken",
    ["projection"],
)
