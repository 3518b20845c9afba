"""Front doors: events from where they are, framed for their topics.

`files` reads logs in any format from files and pipes · `containers` reads Avro object container
files of our own schemas. The formats themselves are in `schemas.sources`.
"""
