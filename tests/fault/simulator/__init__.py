"""A deterministic, seeded world around the real sealer.

`loop` is virtual time and a seeded order of everything that may run next. `partition_log`,
`transactions` and `group` are Kafka's servers, `network` loses and delays what is asked of them,
`adapters` are the ports over it. `workers` are processes: members of one group, each with the real
`PartitionSealer`; they crash, stop for a while, and start again. `laws` judges every durable
write at the moment it happens. `mixes` says which faults and damages a history may have, and what
is left out by name; `history` runs one: a seed and a mix give the same history each time.

    python -m tests.fault.simulator SEED MIX      # replay one, with a trace
"""
