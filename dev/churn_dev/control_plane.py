"""The cluster's brain as parts: etcd, the API server and what works beside it."""

from collections.abc import Mapping

from churn_dev import tools
from churn_dev.layout import CONTROL_PLANE, Layout
from churn_dev.network import inside
from churn_dev.parts import Part

ADMISSION_PLUGINS = "NodeRestriction,OwnerReferencesPermissionEnforcement"
"""Beside the default ones. The second refuses to block the deletion of what the writer may not finalise."""

AUTOSCALING = {
    "horizontal-pod-autoscaler-sync-period": "5s",
    "horizontal-pod-autoscaler-initial-readiness-delay": "5s",
    "horizontal-pod-autoscaler-cpu-initialization-period": "20s",
}
"""By default an autoscaler looks every 15 s and leaves young pods aside for minutes."""

_ETCD = "http://127.0.0.1:2379"

_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
"""

_COREFILE = """\
.:53 {{
  bind {address}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig} churn-{name}
  }}
}}
"""


def configure(layout: Layout) -> None:
    """Writes the files that the parts read."""
    (layout.directory / "audit.yaml").write_text(_AUDIT_POLICY)
    (layout.directory / "Corefile").write_text(
        _COREFILE.format(
            address=layout.control_plane_address, kubeconfig=layout.kubeconfig("admin"), name=layout.name
        )
    )


def parts(layout: Layout) -> dict[str, Part]:
    """The parts by name, in the order of their start; without nodes only what makes an API server whole."""
    arguments = {
        "etcd": _etcd(layout),
        "kube-apiserver": _api_server(layout),
        "kube-controller-manager": _controller_manager(layout),
    }
    if layout.nodes:
        arguments |= {
            "kube-scheduler": _as_user(layout, "kube-scheduler") | {"leader-elect": "false"},
            "metrics-server": _metrics_server(layout),
        }
    commands = {name: (str(tools.path(name)), *_flags(given)) for name, given in arguments.items()}
    if layout.nodes:
        commands["coredns"] = (str(tools.path("coredns")), "-conf", str(layout.directory / "Corefile"))
    return {
        name: Part(name, inside(layout, CONTROL_PLANE, *command), layout.directory)
        for name, command in commands.items()
    }


def _flags(arguments: Mapping[str, object]) -> list[str]:
    return [f"--{flag}={value}" for flag, value in arguments.items()]


def _etcd(layout: Layout) -> dict[str, object]:
    return {
        "data-dir": layout.directory / "etcd",
        "unsafe-no-fsync": "true",
        "log-level": "warn",
        "listen-client-urls": _ETCD,
        "advertise-client-urls": _ETCD,
        "listen-peer-urls": "http://127.0.0.1:2380",
    }


def _api_server(layout: Layout) -> dict[str, object]:
    pki = layout.pki
    return {
        "etcd-servers": _ETCD,
        "service-cluster-ip-range": layout.services,
        "advertise-address": layout.control_plane_address,
        "secure-port": 6443,
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "client-ca-file": pki / "ca.crt",
        "service-account-key-file": pki / "sa.pub",
        "service-account-signing-key-file": pki / "sa.key",
        "service-account-issuer": "https://kubernetes.default.svc",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": ADMISSION_PLUGINS,
        "allow-privileged": "true",
        "kubelet-client-certificate": pki / "admin.crt",
        "kubelet-client-key": pki / "admin.key",
        # Or `kubectl logs` looks node names up in DNS.
        "kubelet-preferred-address-types": "InternalIP",
        "requestheader-client-ca-file": pki / "ca.crt",
        "requestheader-allowed-names": "front-proxy",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki / "front-proxy.crt",
        "proxy-client-key-file": pki / "front-proxy.key",
        "enable-aggregator-routing": "true",
        "audit-policy-file": layout.directory / "audit.yaml",
        "audit-log-path": layout.audit_log,
        "audit-log-maxsize": "4000",  # MB: what is rotated away is not counted
    }


def _controller_manager(layout: Layout) -> dict[str, object]:
    return (
        _as_user(layout, "kube-controller-manager")
        | {
            "service-account-private-key-file": layout.pki / "sa.key",
            "root-ca-file": layout.pki / "ca.crt",
            "use-service-account-credentials": "true",
            # Each node's CNI configuration names its pods' range, as the routes need it.
            "allocate-node-cidrs": "false",
            "leader-elect": "false",
        }
        | AUTOSCALING
    )


def _metrics_server(layout: Layout) -> dict[str, object]:
    kubeconfig = layout.kubeconfig("admin")
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "secure-port": 4443,
        "cert-dir": layout.directory / "metrics-server",
        "kubelet-insecure-tls": "true",
        # 10 s is the least that it takes, and it must exceed the request timeout.
        "metric-resolution": "10s",
        "kubelet-request-timeout": "5s",
        "kubelet-preferred-address-types": "InternalIP",
    }


def _as_user(layout: Layout, user: str) -> dict[str, object]:
    kubeconfig = layout.kubeconfig(user)
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
    }
