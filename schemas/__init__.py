"""What every byte means. Pure: no clock, network, disk, randomness or logging.

Values: `records` what stands in a partition · `events` what producers send · `alerts`, as `ocsf`
too · `dead_letters` · `heads` · `schema_answers` what a registry said · `operations` what was
done · `limits` how large each may be · `readable` all of them for people · `errors`.

Events as bytes, in the order data meets them: `framing` which schema wrote a value ·
`references` which leaf needs a registry for it · `writer_schemas` the schemas that are known,
and how they resolve to ours · `strict_reader` bodies into values, bounded by their bytes ·
`record_types` our records · `codec` all of it together. `catalogue` loads `avro/*.avsc` and
`released/`; `compatibility` says which schema may replace which.

Audit values as bytes: `canonical` the one encoding that is hashed · `audit_values` records,
checkpoints and contents.

`sources/` turns foreign formats into events.
"""
