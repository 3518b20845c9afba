"""Object stores: a directory, or an S3 bucket with Object Lock, behind one port.

`locations` chooses by address · `directory` · `s3`, the only importer of boto3 · `s3_answers`
what S3 says.
"""

from streams.objects.directory import DirectoryObjectStore
from streams.objects.locations import CheckedStore, S3Connection, open_object_store

__all__ = ["CheckedStore", "DirectoryObjectStore", "S3Connection", "open_object_store"]
