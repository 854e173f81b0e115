"""`python -m bench.peers.naive --port N --workers N`, with DATABASE_URL: the peer on uvicorn."""

import argparse
import asyncio
import os
from pathlib import Path

import asyncpg
import uvicorn


async def _create_schema(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(Path(__file__).with_name("schema.sql").read_text())
    finally:
        await connection.close()


def main() -> None:
    """Create the table, then serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.naive")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(_create_schema(os.environ["DATABASE_URL"]))
    uvicorn.run(
        "bench.peers.naive.app:app",
        host="127.0.0.1",
        port=options.port,
        workers=options.workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
