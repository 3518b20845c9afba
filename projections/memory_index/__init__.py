"""The memory index: what AI agents remember, searched by similarity, forgotten for good.

Read `fold` (what is remembered, held, expired), then `graph` (its vectors), then `projection`
and `search`.
"""
