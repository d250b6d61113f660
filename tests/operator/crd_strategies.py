"""ChurnModel specs made from the CRD's own schema: valid ones, and ones with a single wrong value."""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from churn_operator.api.schema import QUALIFIED_NAME, VALIDATIONS, quantity_value
from churn_operator.api.serving import RESERVED_LABELS
from churn_operator.api.source import FORMS, PINNED_OCI
from churn_operator.crdgen import build_root_schema

Json = dict[str, Any]
Path = tuple[str, ...]
EACH = "*"
"""In a path: any element of a list, any key of a map."""
SPEC: Json = build_root_schema()["properties"]["spec"]
PIN = "sha256:" + "a" * 64


def nodes(node: Json = SPEC, path: Path = ()) -> Iterator[tuple[Path, Json]]:
    """Every node of a schema below `node`, with its path."""
    for name, child in node.get("properties", {}).items():
        yield (*path, name), child
        yield from nodes(child, (*path, name))
    for key in ("items", "additionalProperties"):
        if key in node:
            yield (*path, EACH), node[key]
            yield from nodes(node[key], (*path, EACH))


def matching(pattern: str) -> st.SearchStrategy[str]:
    """Strings of a pattern; long repetitions are cut short, which stays inside the pattern."""
    short = re.sub(r"\{(\d),\d{2,3}\}", r"{\1,5}", pattern)
    return st.from_regex(re.compile(short.removeprefix("^").removesuffix("$")), fullmatch=True)


def _digits() -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:".__add__)


def _uris() -> st.SearchStrategy[str]:
    forms = st.one_of(*map(matching, FORMS.values()))
    pinned = _digits().map(lambda digest: f"oci://registry.example/telco@{digest}")
    return st.one_of(forms, pinned).filter(lambda uri: ".." not in uri and _port_fits(uri))


def _port_fits(uri: str) -> bool:
    port = re.match(r"https://[^/]+:([0-9]+)", uri)
    return port is None or 1 <= int(port[1]) <= 65535


def _named_model(model: Json) -> Json:
    if not re.fullmatch(PINNED_OCI, model["uri"]):
        model = {"digest": PIN} | model
    if model["uri"].startswith("pvc://"):
        model.pop("credentialsSecret", None)
    return model


def _told_toleration(toleration: Json) -> Json:
    if "key" not in toleration:
        toleration["operator"] = "Exists"
    if toleration.get("operator") == "Exists":
        toleration.pop("value", None)
    if "tolerationSeconds" in toleration:
        toleration["effect"] = "NoExecute"
    return toleration


def _bounded_resources(resources: Json) -> Json:
    limits = resources.get("limits", {})
    within = {
        name: request
        for name, request in resources.get("requests", {}).items()
        if name not in limits or quantity_value(request) <= quantity_value(limits[name])
    }
    return resources | ({"requests": within} if "requests" in resources else {})


def _ordered_autoscaling(autoscaling: Json) -> Json:
    least, most = autoscaling.get("minReplicas", 2), autoscaling["maxReplicas"]
    autoscaling |= {"minReplicas": min(least, most), "maxReplicas": max(least, most)}
    if "metrics" in autoscaling:
        autoscaling.pop("targetCPUUtilizationPercentage", None)
    else:
        autoscaling.setdefault("targetCPUUtilizationPercentage", 50)
    return autoscaling


def _free_labels(labels: Json) -> Json:
    return {
        key: value
        for key, value in labels.items()
        if not key.startswith("churnops.io/") and key not in RESERVED_LABELS
    }


FIELD = {  # a metric's type and the field that holds it
    "Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object",
    "External": "external",
}  # fmt: skip


def _decisions() -> st.SearchStrategy[Json]:
    """One of the three ways; a contact that somebody is worth."""
    share = st.floats(0, 1, exclude_min=True, exclude_max=True)
    costs = st.builds(
        lambda contact, margin, success: {
            "contact": contact, "value": contact * margin / success, "success": success,
        },
        st.floats(0.01, 1e6), st.floats(1.01, 1e6), st.floats(0.01, 1),
    )  # fmt: skip
    return st.one_of(
        st.builds(dict, threshold=share), st.builds(dict, capacity=share), st.builds(dict, costs=costs)
    )


def _auths() -> st.SearchStrategy[Json]:
    """One of the two ways; the keys of tokens from one place."""
    name, text = (
        st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True),
        st.just("https://a.example"),
    )
    places = st.sampled_from(["jwksSecret", "jwksConfigMap"])
    tokens = st.builds(
        lambda issuer, audience, place, keys: {"issuer": issuer, "audience": audience, place: keys},
        text, text, places, name,
    )  # fmt: skip
    return st.one_of(st.builds(dict, apiKeysSecret=name), st.builds(dict, jwt=tokens))


def _metrics(node: Json, path: Path) -> st.SearchStrategy[Json]:
    """A metric has the field that its type names, and no other."""
    return st.sampled_from(sorted(FIELD)).flatmap(
        lambda kind: st.fixed_dictionaries(
            {
                "type": st.just(kind),
                FIELD[kind]: values(node["properties"][FIELD[kind]], (*path, FIELD[kind])),
            }
        )
    )


def _targets(_: Json, __: Path) -> st.SearchStrategy[Json]:
    quantity = values({"x-kubernetes-int-or-string": True}, ())
    return st.one_of(
        st.integers(1, 1000).map(lambda percent: {"type": "Utilization", "averageUtilization": percent}),
        quantity.map(lambda value: {"type": "AverageValue", "averageValue": value}),
        quantity.map(lambda value: {"type": "Value", "value": value}),
    )


REPLACED: dict[Path, Callable[[Json, Path], st.SearchStrategy[Any]]] = {
    ("model", "uri"): lambda *_: _uris(),
    ("model", "digest"): lambda *_: _digits(),
    ("decision",): lambda *_: _decisions(),
    ("autoscaling", "metrics", EACH): _metrics,
    ("serving", "auth"): lambda *_: _auths(),
}
"""Nodes whose rules are CEL and say more than the schema."""
MENDED: dict[Path, Callable[[Json], Json]] = {
    ("model",): _named_model,
    ("autoscaling",): _ordered_autoscaling,
    ("serving", "resources"): _bounded_resources,
    ("serving", "tolerations", EACH): _told_toleration,
    ("serving", "podLabels"): _free_labels,
}
"""Nodes whose CEL rules tie fields together: what is drawn is made to keep them."""


def values(node: Json, path: Path) -> st.SearchStrategy[Any]:
    """Values that the schema node at `path` admits."""
    if path in REPLACED:
        return REPLACED[path](node, path)
    if path[-1:] == ("target",):
        return _targets(node, path)
    drawn = _of_type(node, path)
    return drawn.map(MENDED[path]) if path in MENDED else drawn


def _of_type(node: Json, path: Path) -> st.SearchStrategy[Any]:  # noqa: PLR0911  # one line a type
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if node.get("x-kubernetes-int-or-string"):
        suffixes = ["", "m", "k", "Ki", "M", "Mi", "G", "Gi", "T", "Ti", "P", "Pi", "E", "Ei"]
        number = st.one_of(st.integers(0, 10**6).map(str), st.sampled_from(["0.5", "1.25", "007", "1.0"]))
        return st.one_of(st.integers(0, 2**40), st.builds(str.__add__, number, st.sampled_from(suffixes)))
    match node["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(node.get("minimum", 0), node.get("maximum", 2**63 - 1))
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False)
        case "string":
            return _strings(node)
        case "array":
            keys = node.get("x-kubernetes-list-map-keys", ())
            identity = (lambda item: tuple(item.get(key) for key in keys)) if keys else None
            items = values(node["items"], (*path, EACH))
            most = min(node["maxItems"], 3)
            return st.lists(items, min_size=node.get("minItems", 0), max_size=most, unique_by=identity)
        case _:
            return _maps(node, path) if "additionalProperties" in node else _objects(node, path)


def _strings(node: Json) -> st.SearchStrategy[str]:
    least, most = node.get("minLength", 0), node["maxLength"]
    if "pattern" in node:
        return matching(node["pattern"]).filter(lambda text: least <= len(text) <= most)
    # What JSON over HTTP can carry: no lone surrogates, no NUL that etcd's clients choke on.
    alphabet = st.characters(exclude_categories=("Cs", "Cc"))
    return st.text(alphabet, min_size=least, max_size=min(most, 12))


def _maps(node: Json, path: Path) -> st.SearchStrategy[Json]:
    keys = st.one_of(
        matching(QUALIFIED_NAME), st.sampled_from(["cpu", "memory", "env", "command", "value", "selector"])
    )
    return st.dictionaries(keys, values(node["additionalProperties"], (*path, EACH)), max_size=3)


def _objects(node: Json, path: Path) -> st.SearchStrategy[Json]:
    fields = {name: values(child, (*path, name)) for name, child in node["properties"].items()}
    required = {name: fields.pop(name) for name in node.get("required", ())}
    return st.fixed_dictionaries(required, optional=fields)


def specs() -> st.SearchStrategy[Json]:
    """Specs that the API server takes."""
    return values(SPEC, ())


def wrong_value(node: Json) -> Any:  # noqa: PLR0911  # one line a type
    """A value of JSON that the schema node does not admit, near its bounds where it has some."""
    if VALIDATIONS in node and node["type"] in {"string", "number"}:
        return "::" if node["type"] == "string" else -1.0
    if "enum" in node:
        return "Neither"
    if node.get("x-kubernetes-int-or-string"):
        return "-1"
    match node["type"]:
        case "integer":
            return node["maximum"] + 1 if "maximum" in node else node.get("minimum", 0) - 1
        case "string" if "pattern" in node:
            return "not/this one!"
        case "string":
            return "x" * (node["maxLength"] + 1)
        case "boolean":
            return "perhaps"
        case _:
            return "text"


def places(spec: Any, path: Path) -> Iterator[tuple[str | int, ...]]:
    """Where `spec` has something at the schema path: keys and indices."""
    if not path:
        yield ()
        return
    head, rest = path[0], path[1:]
    if isinstance(spec, list):
        found: list[Any] = list(range(len(spec)))
    else:
        found = sorted(spec) if head == EACH else [head] if head in spec else []
    for key in found:
        yield from ((key, *more) for more in places(spec[key], rest))


def replaced(spec: Json, place: tuple[str | int, ...], value: Any) -> Json:
    """A copy of `spec` with another value at `place`."""
    fresh: Json = copy.deepcopy(spec)
    target: Any = fresh
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return fresh


@st.composite
def broken_specs(draw: st.DrawFn) -> tuple[Json, str]:
    """A spec with one value that its schema node refuses, and that field's path."""
    spec = draw(specs())
    found = [(node, place) for path, node in nodes() for place in places(spec, path)]
    node, place = draw(st.sampled_from(found))
    return replaced(spec, place, wrong_value(node)), ".".join(("spec", *map(str, place)))


def turned(value: Any) -> Any:
    """The same JSON with every map in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


KEPT = {"resources", "behavior", "scaleUp", "scaleDown", "selector"}
"""Fields that the server keeps though they are empty: there, an empty object says something."""


def as_kept(value: Any, path: Path = ()) -> Any:
    """JSON as the API server keeps it: empty lists, maps and strings of optional fields are left out.

    Values in a map of an author's own keys stay as they are.
    """
    if isinstance(value, list):
        return [as_kept(item, path) for item in value]
    if not isinstance(value, dict):
        return value
    if path[-1:] and path[-1] in {
        "labels",
        "annotations",
        "matchLabels",
        "nodeSelector",
        "data",
        "limits",
        "requests",
    }:
        return copy.deepcopy(value)
    fresh = {key: as_kept(item, (*path, key)) for key, item in value.items()}
    return {key: item for key, item in fresh.items() if item not in ("", [], {}) or key in KEPT}
