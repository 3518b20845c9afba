"""The alerts of a log once more, as OCSF findings in JSON: derived from the sealed alerts.

Read `fold` (what a sealed alert becomes), then `projection` (how it is published exactly once).
"""
