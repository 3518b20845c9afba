"""A log as static files that unmodified C2SP tools read: entry bundles, tiles, and a checkpoint.

`fold` which files grow out of sealed records · `store` what is written, in which order, and what
is found there · `projection` joins them, and says when to publish.
"""
