"""Why a broker closed a connection without a word, asked by hand.

aiokafka drops the TLS alert in which a broker says that it wants another certificate, and takes
the alert of a TLS listener for a broken answer. Both would look like an outage.
"""

import asyncio
import ssl
import struct

__all__ = ["why_closed"]

WAIT_S = 3.0
# ApiVersions v0, the first request of any client: length, key, version, correlation, no client id.
QUESTION = struct.pack(">ihhih", 10, 18, 0, 1, -1)
TLS_ALERT = b"\x15\x03"


async def why_closed(host: str, port: int, context: ssl.SSLContext | None) -> str | None:
    """What the settings lack, in a sentence, or None where this broker does not say.

    `context` is None for a connection without TLS.
    """
    try:
        async with asyncio.timeout(WAIT_S):
            answer = await _ask(host, port, context)
    except ssl.SSLError as error:
        reason = error.reason or ""
        if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
            return (
                f"{host}:{port} demands a client certificate that it trusts ({reason}): see "
                "KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE"
            )
        return None
    except OSError:
        return None
    if context is None and answer.startswith(TLS_ALERT):
        return f"{host}:{port} speaks TLS: KAFKA_SECURITY_PROTOCOL must be SSL or SASL_SSL"
    return None


async def _ask(host: str, port: int, context: ssl.SSLContext | None) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        writer.write(QUESTION)
        return await reader.read(len(TLS_ALERT))
    finally:
        writer.transport.abort()
