"""What a worker answers over HTTP: health, readiness, metrics, search, snapshots.

`pages`, `search` and `snapshots` say what · `server` serves them where there is no Faust.
"""
