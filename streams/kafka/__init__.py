"""The ports on Apache Kafka; the only importer of aiokafka.

`connection` says how a cluster is reached. `reader` (over `link` and `batches`) reads one
partition, `writer` is its one fenced writer, `membership` and `source` are the consumer group:
what this process owns, and the positions it posts. `facts` and `topics` know the topics,
`producer` sends events in.
"""
