"""How history is written and checked.

Read in this order: `audit` (what valid history is: its `trail`), `sealer` with
`sealing_session` and `sealing_watch` (how it grows), `recovery` over `log_world`, `history` and
`source_checks` (how a start finds its place), `healing` (how a lost end comes back),
`leader_epochs` (how a cut source is noticed), `standstill` with `verdicts` (how it stops),
`epochs` with `standing` (what goes on behind a log that ended, and how much of it is good),
`anchors` with `second_anchors` and `archive_root` (what is kept outside), `trust` with
`operations_log` and `trust_root` (whose signatures count), `heads` (the roster),
`operation_events` with `births` (what was done, told in the log), `verifier` (how anyone checks
it), `static_log` (how anyone reads it as files) and `proving` (how one record is proved).

At the edges: `ports` what the world must keep · `engine`, `topology` and `jobs` whose partitions
and what they are called · `kafka` and `embedded` the two engines · `objects` and `segments` what
is archived, where · `keys` signers · `registry` what schema ids stand for · `clock` · `intake`
events from files.

Throughout: `settings`, `errors`, `telemetry`, `tasks`, `garbage`. `app` is the composition root
and chooses the adapters; `cli` has the verbs of this floor.
"""
