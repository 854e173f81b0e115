"""Checks the dependencies: known vulnerabilities and licences. `make audit` runs it."""
