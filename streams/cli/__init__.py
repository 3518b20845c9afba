"""The verbs of `attestream` that need no projection; one module a verb.

`send` events in · `topics` made as declared · `keys` · `audit` read a log, with its `proofs` ·
`verify` check it, by its `addresses` and as its `inquiries` ask, from wherever `histories`,
`live_histories`, `archive_source`, `root_logs` and `source_pages` find it, against what lies in
`anchor_places`, with `progress` · `archive` look into the object store, `archive_doctor` try what
its bucket keeps, `archive_holds` keep what is in it for longer.
`retiring`, `operations` and `forking` are an operator's orders, over what is `operating`.
`options`, `opened_logs` and `failures` are what verbs share: how they are asked, what they are
asked about, and how they end.
"""
