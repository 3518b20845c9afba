"""The decision index: decisions unlike any before, found, explained and alerted.

In the order of a decision's way through: `embedding` (features, digest, vector) · `habits` (how
new, how rare) · `scoring` (risk, and the rules) · `rules` (as they are set) · `sparse`, `graph`,
`index` (the rows and their nearest) · `throttle` (what is told) · `fold` (score, then learn) ·
`alerts` (words and evidence) · `projection` (exactly once) · `saving` (for
snapshots) · `shown` (its metrics) · `search`
(questions and answers).
"""
