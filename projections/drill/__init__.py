"""Drills: archived segments picked at random, restored, verified, and compared with the log.

A backup that was never restored is a hope. A drill says in a report what held and what did not,
how long it took, and how old the newest record in the archive was; that it took place is sealed.

`fold` pure: what is picked, what is said · `restoring` one segment · `running` the whole ·
`promise` when the last one was, by the sealed operations.
"""
