"""`python -m bench.peers.naive --port N --workers N`, with DATABASE_URL: the peer under uvicorn."""

import argparse
import asyncio
import importlib.util
import os
import sys


def main() -> None:
    """Make the table, then serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.naive")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    if "DATABASE_URL" not in os.environ:
        parser.error("DATABASE_URL has to say which migrated database to use")
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
        sys.exit("the peer's packages are missing: run make peers")

    import uvicorn  # noqa: PLC0415 - after the check that says how to get it

    from bench.peers.naive.store import create_schema  # noqa: PLC0415

    asyncio.run(create_schema(os.environ["DATABASE_URL"]))
    uvicorn.run(
        "bench.peers.naive.app:app",
        host=options.host,
        port=options.port,
        workers=options.workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
