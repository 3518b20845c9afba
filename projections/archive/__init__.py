"""The archive: sealed records as segments in the object store, written once, chained by manifests.

`fold` where a segment is cut · `store` what is written, in which order, and what is found there ·
`projection` joins them · `age` of what is not archived yet. Unlike every other projection it must
not be thrown away.
"""
