"""
The table of clients in the README, compared with the results that it is made from.

If these tests fail: the README says that an SDK works which was not seen working.
"""

from tests.docs.conftest import DOCS
from tests.sdks.clients import CLIENTS, SHORT, Side
from tests.sdks.results import README, load, with_table


def test_the_table_of_the_readme_is_that_of_the_last_results() -> None:
    text = README.read_text(encoding="utf-8")

    assert with_table(text) == text


def test_the_results_are_those_of_the_pinned_versions() -> None:
    versions = {client.name: client.version for client in CLIENTS}

    assert {} == {
        name: result.version for name, result in load().items() if result.version != versions[name]
    }


def test_every_client_has_a_page() -> None:
    pages = {client.page for client in CLIENTS}

    assert set() == {page for page in pages if not (DOCS / "how-to/sdks" / page).exists()}


def test_the_short_form_has_two_clients_of_each_side() -> None:
    sides = [client.side for client in CLIENTS if client.name in SHORT]

    assert dict.fromkeys(Side, 2) == {side: sides.count(side) for side in Side}
