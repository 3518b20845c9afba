"""The decision index: decisions unlike any before, found, explained and alerted.

In the order of a decision's way through: `embedding` (features, digest, vector) · `lexicon` (its
words, numbered) · `habits` (how new, how rare) · `scoring` (risk, and the rules) · `digests`,
`sparse`, `graph`, `index` (the rows and their nearest) · `throttle`, `budget` (what is told) ·
`findings` (what is said of it) · `fold` (score, then learn) · `alerts` (words and evidence) ·
`projection` (exactly once) · `search` (questions and answers).

Beside it: `state` and `stored` (all of it as arrays and back), `saving` (in snapshots),
`calibration` (a threshold for a budget), `rules` and `rows` (as settings have them), `shown` (in
metrics).
"""
