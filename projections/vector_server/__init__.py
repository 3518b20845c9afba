"""Vectors for callers in other languages: JSON lines over standard input and output.

Read `protocol` (what a line may say), then `spaces` (the vectors, and how they are forgotten),
`saving` (encrypted files), `server` (one request after another), `lines` (bounded reading). The
protocol is specified in docs/reference/vectors-serve.md.
"""
