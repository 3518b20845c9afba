"""Logs copied, verified on the way, from where they are or from the archive, into a staging place.

A staging log holds the audit records and checkpoints of a log byte for byte; only audit offsets
differ. Its own end says where a copy that was interrupted goes on, so nothing is there twice.

`fold` pure: what is to be read, and which rows are new · `live`, `archived` where rows come from ·
`staging` where they go · `copying` joins them · `places` which topics, which directory ·
`opening` a replay as it is asked for · `parity` a copy against its source, `rebuilt` what follows
from both, `checking` all of it.
"""
