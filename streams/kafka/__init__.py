"""The ports on Apache Kafka; the only importer of aiokafka.

`connection` says how a cluster is reached, `handshake` why it is not, `link` asks its brokers,
`requests` is what aiokafka cannot ask. `reader` (over `batches`) reads one partition, `writer` is
its one fenced writer. `membership` and `source` are the consumer group: what this process owns,
and the positions it posts. `facts` says who a topic is; `topics` plans the declared ones,
`topic_admin` makes them. `producer` sends events in. `engine` joins all of it for the
composition root.
"""
