"""What is derived from sealed records; all but the archive may be thrown away and rebuilt.

Read in this order: `ports` (what a projection is handed, and must keep), `runner` (the loop that
hands it), then any of `archive`, `dead_letters`, `decision_index`, `memory_index`,
`ocsf_alerts`, `tiles`.
Inside each, the same names mean the same: `fold` is pure (state, record → state, effects),
`store` reaches the outside, `projection` joins them. They never import each other.

What several build upon: `derived` (output published exactly once), `hnsw` (the graph library),
`search`, `reading` (an index built for one answer), `calibrating` (a threshold from whole logs),
`snapshots` (states, encrypted), `saved_logs` (snapshots without a worker), `schema_answers` (what
a registry's ids in events stand for, known before a batch is applied).

What becomes of a log elsewhere: `replay` (copies of it, verified, continued and compared),
`drill` (archived segments restored to know that it can be done).

What runs them: `roles` and `services` on either engine; `app` is the Faust worker, `embedded` the
one process without a broker; `api` its pages, `cli` the command, `demo` the show.

Beside all that, `vector_server` answers callers in other languages, of no log.
"""
