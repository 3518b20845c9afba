"""What a worker answers over HTTP: health, readiness, metrics, search.

`pages` and `search` say what · `server` serves them where there is no Faust.
"""
