"""The same ports as Kafka, on one SQLite file: the engine when no broker is named.

The only importer of `sqlite3`. Reading order: `layout` (tables), `home` (the directory),
`connections` and `failures` (opening, and what errors mean), `database` (the file, its one writing
thread, `arrivals`), `record_tables` and `partitions` (the ports), `sink` with `partitioner`,
`engine`; then the verifier's side, which only reads and trusts nothing: `evidence`, `history`.
"""
