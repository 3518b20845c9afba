"""The verbs of `attestream` that need no projection; one module a verb.

`send` events in · `topics` made as declared · `keys` · `audit` read a log · `verify` check it,
from wherever `histories` finds it · `archive` look into the object store.
`options` and `failures` are what verbs share: how they are asked, and how they end.
"""
