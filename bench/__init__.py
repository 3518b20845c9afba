"""Measurements: `python -m bench` prints what docs/benchmarks.md holds.

`sealing` on Kafka against bare copies and a Faust agent, `embedded`, `verifying`, `detection` of
the decision index. `baselines` are taken over unchanged and never tuned.
"""
