"""Object stores: a directory, or an S3 bucket with Object Lock, behind one port.

`locations` chooses by address · `directory` · `s3` over `s3_client`, with `s3_answers`, what S3
says. Whether a bucket keeps its promises: `probe` tries the checks of `probe_locks`,
`probe_writes`, `probe_access`, `probe_scratch` and `probe_returning` (each a `probe_checks`
check) with `probe_canaries`, judged by `probe_verdicts`, through the port `probe_bucket`, which
is `s3_bucket` (it signs with `signature_v4`); `admission` refuses a pretender at start, and
waits for a bucket that is away. What may be deleted again stands in a `disposal.DisposableStore`.
"""

from streams.objects.directory import DirectoryObjectStore
from streams.objects.locations import CheckedStore, S3Connection, open_object_store

__all__ = ["CheckedStore", "DirectoryObjectStore", "S3Connection", "open_object_store"]
