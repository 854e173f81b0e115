"""The command `forebay`: `serve` for production, `dev` for development."""

import asyncio
import importlib
from pathlib import Path
from typing import Final

from cyclopts import App

from provision.command_line import Json, installed_version, run
from provision.database import required_url
from provision.dev import Options, run_dev

_DATA_DIR: Final = Path(".forebay")

app = App(
    name="forebay",
    help="Analytics events over HTTP, each one in PostgreSQL exactly once.",
    version=installed_version,
)


@app.command
def serve() -> int:
    """Serve with the PostgreSQL of DATABASE_URL, after `provision migrate`."""
    required_url()
    # Imported here: `forebay dev` needs neither the server nor the native core.
    code: int = importlib.import_module("service.__main__").main()
    return code


@app.command
def dev(
    *,
    data_dir: Path = _DATA_DIR,
    port: int | None = None,
    workers: int | None = None,
    json: Json = False,
) -> None:
    """
    Serve with an embedded PostgreSQL, a demo tenant and its key; for development.

    Parameters
    ----------
    data_dir
        Folder for the data of PostgreSQL, the demo key and locks.
    port
        Port of the service, instead of FOREBAY_PORT.
    workers
        Worker processes, instead of FOREBAY_WORKERS.
    json
        Print one line of JSON when ready: url, metrics_url, api_key, database_url.
    """
    options = Options(data_dir=data_dir.absolute(), port=port, workers=workers, is_json=json)
    asyncio.run(run_dev(options))


def main() -> None:
    """Run the command `forebay`."""
    run(app)


if __name__ == "__main__":
    main()
