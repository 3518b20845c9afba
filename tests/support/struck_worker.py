"""A worker that ends itself at one call into aiokafka.

    python -m tests.support.struck_worker CALL NUMBER [OPTIONS OF attestream worker]

sends itself SIGKILL right after the NUMBER-th CALL (`tests.support.struck_kafka` names them).
"""

import os
import signal
import sys

from tests.support.kafka_sealing import make_strikable
from tests.support.struck import LIFE, Calls

if __name__ == "__main__":
    make_strikable()
    call, number, *options = sys.argv[1:]

    def end(done: str, nth: int) -> None:
        if (done, nth) == (call, int(number)):
            os.kill(os.getpid(), signal.SIGKILL)

    LIFE.set(Calls(done=end))
    from projections.cli.main import main

    main(["worker", *options])
