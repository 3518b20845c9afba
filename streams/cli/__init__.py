"""The verbs of `attestream` that need no projection; one module a verb.

`send` events in · `topics` made as declared · `keys` · `audit` read a log, with its `proofs` ·
`verify` check it, from wherever `histories` finds it (by its `addresses`), with anchors of
`anchor_places`, orders and heads of `root_logs`, sources of `source_pages`; `progress` shows how
far it is · `archive` look into the object store,
`archive_doctor` try what its bucket keeps.
`retiring` and `operations` are an operator's orders, over what is `operating`.
`options`, `opened_logs` and `failures` are what verbs share: how they are asked, what they are
asked about, and how they end.
"""
