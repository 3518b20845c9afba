"""Snapshots: a projection's state at a position, encrypted, so that a start need not begin at 0.

Pure: `names` (where objects are), `parts` (a state as bytes, and chunks of them), `cipher` (chunks
and manifests under a data key), `manifest`, `retention`. `refusal` is what ends a restore.

Over a store: `keys` (data keys, wrapped), `store` (objects), `containment` (does the log hold
it?), `writing`, `restoring`, `cleanup`, `rekeying`, `inspection`. Over a running projection:
`world` (what is needed of it), `keeper` (all of it for one log), `local` (those of a process),
`gauges`, `telling`; `opening` is what the settings say.
"""
