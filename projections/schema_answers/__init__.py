"""What schema ids and GUIDs stand for: asked of a registry once, recorded, read back from the log.

A projection's verdicts must be a pure function of sealed history, and a registry is no history: it
may be slow, gone, replaced, or changed by hand. So its first answer about a reference is written
to `attestream.operations` as a `SchemaAnswer`; what is sealed there first counts, in every process
and every rebuild, whatever the registry says later.

`fold` decides which references of a log may be asked about, `sealed` follows what one log of
operations records, `recorded` what all of its epochs do, `answers` asks and records, `projection`
has a batch's answers at hand before it is applied.
"""
