import pytest

from tests.tidy.repository import Repository


@pytest.fixture(scope="session")
def repository() -> Repository:
    return Repository.of_git()
