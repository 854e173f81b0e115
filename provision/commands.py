"""How a command is run: faults become one sentence on stderr and an exit code."""

import sys
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from provision.errors import ProvisionError
from provision.output import print_message
from service.config import ConfigError

# An on-switch only: cyclopts would add --no-json.
Json = Annotated[bool, Parameter(name="--json", negative="")]

_INTERRUPTED = 130


def run(app: App) -> NoReturn:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 already there."""
    try:
        app(sys.argv[1:], exit_on_error=True, result_action="sys_exit")
    except ProvisionError as error:
        print_message(f"{app.name[0]}: {error}")
        sys.exit(error.exit_code)
    except ConfigError as error:
        print_message(f"{app.name[0]}: {error}")
        sys.exit(ProvisionError.exit_code)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    sys.exit(0)
