"""`python -m bench.peers.naive PORT WORKERS`, with DATABASE_URL: the peer on uvicorn."""

import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import uvicorn


async def _create_schema() -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    try:
        await connection.execute(Path(__file__).with_name("schema.sql").read_text())
    finally:
        await connection.close()


def main() -> None:
    """Create the table, then serve until SIGTERM."""
    asyncio.run(_create_schema())
    uvicorn.run(
        "bench.peers.naive.app:app",
        port=int(sys.argv[1]),
        workers=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
