"""Messages, which the command shows, are shown where a test calls what the command calls."""

import pytest

from spectrum_matching.cli.output import show_messages


@pytest.fixture(autouse=True)
def _messages():
    show_messages()
