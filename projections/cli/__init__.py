"""The command `attestream`: `main` joins the verbs of both floors, and loads each when it is used.

`run` the embedded pipeline · `worker` one of a Kafka deployment · `alerts` with
`alert_words` and `calibrate` · `search` · `replay` · `drill` · `snapshot` · `vectors` · `doctor` ·
`demo` with `demo_data`.
"""
