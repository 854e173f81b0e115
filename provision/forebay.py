"""The command `forebay`: `serve` for production, `dev` for development."""

import asyncio
import importlib
from pathlib import Path
from typing import Final

from cyclopts import App

from provision.command_line import JsonFlag, installed_version, run
from provision.database import required_url
from provision.dev import Options, run_dev

_DATA_DIR: Final = Path(".forebay")

app = App(
    name="forebay",
    help="Receive analytics events over HTTP and store each one in PostgreSQL exactly once.",
    version=installed_version,
)


@app.command
def serve() -> int:
    """Run the service with the database of DATABASE_URL; run `provision migrate` first."""
    required_url()
    # Imported only here, because `forebay dev` needs neither the server nor the native core.
    code: int = importlib.import_module("service.__main__").main()
    return code


@app.command
def dev(
    *,
    data_dir: Path = _DATA_DIR,
    port: int | None = None,
    workers: int | None = None,
    json: JsonFlag = False,
) -> None:
    """
    Run the service for development, with an embedded PostgreSQL, a demo tenant and a key.

    Parameters
    ----------
    data_dir
        Folder for the data of PostgreSQL, the demo key and lock files.
    port
        Port of the service; overrides FOREBAY_PORT.
    workers
        Number of worker processes; overrides FOREBAY_WORKERS.
    json
        Print one line of JSON when the service is ready: url, metrics_url, api_key, database_url.
    """
    options = Options(data_dir=data_dir.absolute(), port=port, workers=workers, is_json=json)
    asyncio.run(run_dev(options))


def main() -> None:
    """Run the command `forebay`."""
    run(app)


if __name__ == "__main__":
    main()
