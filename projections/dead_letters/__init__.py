"""The dead letters of a log: sealed records no reader can use, each with its reason.

Read `fold` (what is a dead letter), then `projection` (how they are published exactly once).
"""
