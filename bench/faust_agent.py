"""A Faust agent that copies records one by one, at least once: what many would write first.

python -m bench.faust_agent BOOTSTRAP SOURCE COUNT
"""

import json
import os
import resource
import secrets
import sys
import tempfile
import time
from typing import Any

import faust
from confluent_kafka.admin import AdminClient, NewTopic


def main(bootstrap: str, source: str, count: int) -> None:
    name = f"f{secrets.token_hex(4)}"
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for made in admin.create_topics([NewTopic(f"{name}.out", 4, 1)]).values():
        made.result()
    app = faust.App(
        name,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=tempfile.mkdtemp(),
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )
    out = app.topic(f"{name}.out", value_type=bytes, value_serializer="raw")
    seen: dict[str, Any] = {"count": 0}

    @app.agent(app.topic(source, value_type=bytes, value_serializer="raw"))
    async def copy(stream: Any) -> None:  # noqa: ANN401
        async for value in stream:
            await out.send(value=value)
            seen["count"] += 1
            if seen["count"] == 100:
                seen["at"], seen["cpu"] = time.perf_counter(), cpu()
            if seen["count"] == count:
                done = count - 100
                wall, used = time.perf_counter() - seen["at"], cpu() - seen["cpu"]
                print(json.dumps({"rate": done / wall, "cpu_us": used / done * 1e6}), flush=True)
                os._exit(0)

    worker = faust.Worker(app, loglevel="ERROR", redirect_stdouts=False)
    worker.execute_from_commandline()


def cpu() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


if __name__ == "__main__":
    sys.argv, arguments = sys.argv[:1], sys.argv[1:]
    main(arguments[0], arguments[1], int(arguments[2]))
