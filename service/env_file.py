"""The file `.env`."""

import io
from pathlib import Path

import dotenv
import dotenv.parser


class EnvFileError(ValueError):
    """The file cannot be used; the message names it, and quotes nothing of it."""


def read(path: Path) -> dict[str, str]:
    """
    Return the variables of the file *path*; none if there is no such file.

    Raises
    ------
    EnvFileError
        The file cannot be read, or a line of it is not NAME=value.
    """
    try:
        # Some editors begin a file with a byte order mark.
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        # A virtual environment may be a folder named `.env`.
        return {}
    except OSError as error:
        raise EnvFileError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise EnvFileError(f"{path} is not UTF-8: byte {error.start} is not valid") from None
    for binding in dotenv.parser.parse_stream(io.StringIO(text)):
        if binding.error:
            # The message omits the line: it may hold a password.
            raise EnvFileError(f"{path}, line {binding.original.line}, is not NAME=value")
    values = dotenv.dotenv_values(stream=io.StringIO(text))
    return {name: value for name, value in values.items() if value is not None}
