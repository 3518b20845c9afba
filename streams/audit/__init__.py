"""The tamper-evident log, and nothing but: no clock, no network, no disk (formats §2–§6, §9).

Reading order: `leaf` (what a record commits to), `merkle` (the tree), `note` and `checkpoint`
(what is signed), `sealing` (the plan of one batch), `trail` (what valid history is) over
`record_checks`, `runs`, `tail`, `seal` and `anchoring`; then `recovery` (the end of a log, for
its sealer), `proofs` (one record, two sizes) and `tiles` (the tree as files). `operations` are the
notes that move trust, `trust` is what they come to, `roster` which logs there are.
"""
