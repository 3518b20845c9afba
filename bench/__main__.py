"""python -m bench [--quick] [PART...]: print every figure of docs/benchmarks.md."""

import argparse
import logging

from bench import (
    archive_verify,
    archiving,
    detection,
    embedded,
    hot_paths,
    index,
    latency,
    restoring,
    sealing,
    snapshots,
)
from bench.measuring import machine
from streams.telemetry.logs import configure_logs

PARTS = {
    "sealing": ("Sealing on Kafka", sealing.report),
    "hot-paths": ("Where the microseconds of sealing go", hot_paths.report),
    "latency": ("How soon an event is sealed", latency.report),
    "embedded": ("Embedded engine and verification", embedded.report),
    "archiving": ("Archiving to S3 with Object Lock", archiving.report),
    "archive-verify": ("Verifying an archive", archive_verify.report),
    "restore": ("Restoring from the archive", restoring.report),
    "snapshots": ("Snapshots", snapshots.report),
    "detection": ("Decision index", detection.report),
    "index": ("Size and speed of the decision index", index.report),
    "index-million": ("A million rows in the decision index", index.report_million),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds")
    arguments = parser.parse_args()
    configure_logs(level=logging.WARNING)
    print(f"Machine: {machine()}.\n")
    for name in arguments.parts or PARTS:
        title, report = PARTS[name]
        print(f"## {title}\n")
        print("\n".join(report(quick=arguments.quick)), flush=True)
        print()


if __name__ == "__main__":
    main()
