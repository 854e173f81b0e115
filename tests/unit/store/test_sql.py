"""
Statements of the .sql files, found by their names.

If these tests fail: the service sends wrong SQL, and every request gets an error.
"""

import pytest

from service.store.sql import statement


def test_a_statement_is_found_by_its_name() -> None:
    assert statement("ping") == "SELECT 1"
    assert statement("insert_rejected").endswith("ON CONFLICT DO NOTHING")


def test_a_statement_holds_nothing_of_the_next() -> None:
    assert "-- name:" not in statement("insert_ledger")


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        statement("drop_everything")
