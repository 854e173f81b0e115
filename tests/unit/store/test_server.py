"""Servers and databases that are refused before anything is run on them."""

import pytest

from service.store.server import unfit_server


@pytest.mark.parametrize("version_num", [150_000, 150_012, 180_001])
def test_from_postgresql_15_on_a_utf_8_database_is_fit(version_num: int) -> None:
    assert unfit_server(version_num, "UTF8") is None


@pytest.mark.parametrize(("version_num", "major"), [(140_019, 14), (130_002, 13), (90_624, 9)])
def test_an_older_server_is_unfit_whatever_its_encoding(version_num: int, major: int) -> None:
    problem = unfit_server(version_num, "LATIN1") or ""

    assert problem.startswith(f"the server is PostgreSQL {major}, and Forebay needs 15 or later")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_another_encoding_is_unfit(encoding: str) -> None:
    problem = unfit_server(180_001, encoding) or ""

    assert problem.startswith(f"the database has the encoding {encoding}, and Forebay needs UTF8")
