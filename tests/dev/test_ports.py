"""Ports for what tests start."""

import socket

import pytest

from churn_dev import ports
from churn_dev.errors import DevError


def test_a_port_is_one_on_which_nothing_listens(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", ports.free_port())) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "FIRST", port)
        monkeypatch.setattr(ports, "LAST", port)
        with pytest.raises(DevError, match=f"from {port} to {port}"):
            ports.free_port()
    assert ports.free_port() == port


def test_of_two_choices_the_second_is_another_though_nothing_listens_on_the_first_yet():
    assert ports.free_port() != ports.free_port()
