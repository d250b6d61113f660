"""Counting requests from an audit log."""

import json
from pathlib import Path

import pytest

from churn_dev.audit import AuditLog


def _line(
    verb: str, resource: str, *, agent: str = "churn-operator/0.1.0", stage: str = "ResponseComplete"
) -> str:
    event = {
        "stage": stage,
        "verb": verb,
        "userAgent": agent,
        "objectRef": {"resource": resource, "namespace": "team", "name": "telco"},
        "responseStatus": {"code": 200},
    }
    return json.dumps(event) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    log = tmp_path / "audit.log"
    log.write_text(_line("patch", "deployments"))
    return log


def _append(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(lines)


def test_requests_before_the_log_was_opened_do_not_count(path: Path) -> None:
    log = AuditLog(path, "churn-operator/")
    _append(path, _line("get", "services"))
    assert [str(request) for request in log.requests()] == ["get services 200"]


def test_a_request_whose_line_was_half_written_when_the_log_was_opened_is_passed_over(path: Path) -> None:
    first, second = _line("get", "services"), _line("get", "pods")
    _append(path, first[:20])
    log = AuditLog(path, "churn-operator/")
    _append(path, first[20:], second, first[:20])
    assert [str(request) for request in log.requests()] == ["get pods 200"]


def test_only_the_named_user_agent_counts(path: Path) -> None:
    log = AuditLog(path, "churn-operator/")
    _append(path, _line("get", "services", agent="kubectl/1.36"))
    assert log.requests() == []


def test_a_request_counts_once_when_it_is_finished(path: Path) -> None:
    log = AuditLog(path, "churn-operator/")
    _append(path, _line("watch", "pods", stage="ResponseStarted"), _line("watch", "pods"))
    assert log.count() == {"watch pods 200": 1}


def test_a_page_that_continues_a_list_is_told_from_its_first(path: Path) -> None:
    log = AuditLog(path, "churn-operator/")
    first = json.loads(_line("list", "services")) | {"requestURI": "/api/v1/services?limit=100"}
    second = first | {"requestURI": "/api/v1/services?limit=100&continue=x"}
    _append(path, *(json.dumps(page) + "\n" for page in (first, second)))
    assert [page.continues for page in log.requests()] == [False, True]


@pytest.mark.parametrize("verb", ["create", "update", "patch", "delete", "deletecollection"])
def test_a_verb_that_can_change_something_is_a_write(path: Path, verb: str) -> None:
    log = AuditLog(path, "churn-operator/")
    _append(path, _line(verb, "services"), _line("get", "services"))
    assert [request.verb for request in log.writes()] == [verb]


def test_a_line_that_is_still_being_written_is_left_for_later(path: Path) -> None:
    log = AuditLog(path, "churn-operator/")
    _append(path, _line("get", "services")[:20])
    assert log.requests() == []
