"""How to reach a cluster: a kubeconfig file, or what Kubernetes mounts into a pod.

Source of the format: Kubernetes API reference, kubeconfig (v1), and the documentation "Organizing Cluster
Access Using kubeconfig Files".
"""

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from aliquot.kube.credentials import ANONYMOUS, Credentials, ExecPlugin, FileToken, StaticCredential

MAX_FILE_BYTES = 1 << 20
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(Exception):
    """A kubeconfig or the in-cluster configuration cannot be used. file, field: where; problem: why."""

    def __init__(self, file: str, field: str, problem: str) -> None:
        super().__init__(f"{file}: {field}: {problem}" if field else f"{file}: {problem}")
        self.file = file
        self.field = field
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Connection:
    """One cluster and one way to log in.

    server: the URL of the API server. ca: PEM text of the authorities to trust, None for the system's.
    insecure: do not check the server's certificate. tls_server_name: the name to check it against, "" for the
    host of `server`. namespace: the context's, "" if none.
    """

    server: str
    ca: str | None = None
    insecure: bool = False
    tls_server_name: str = ""
    proxy: str = ""
    credentials: Credentials = ANONYMOUS
    namespace: str = ""


class _Record(msgspec.Struct, frozen=True, rename="kebab"):
    pass


class _Cluster(_Record, frozen=True):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class _Variable(msgspec.Struct, frozen=True):
    name: str
    value: str


class _Exec(msgspec.Struct, frozen=True, rename="camel"):
    command: str
    api_version: str = ""
    args: list[str] | None = None
    env: list[_Variable] | None = None
    provide_cluster_info: bool = False


class _User(_Record, frozen=True):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(name="tokenFile", default="")
    exec: _Exec | None = None
    username: str = ""
    auth_provider: dict[str, Any] | None = None
    impersonate: str = msgspec.field(name="as", default="")


class _Context(_Record, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: _Cluster


class _NamedUser(msgspec.Struct, frozen=True):
    name: str
    user: _User | None = None


class _NamedContext(msgspec.Struct, frozen=True):
    name: str
    context: _Context


class _File(_Record, frozen=True):
    current_context: str = ""
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None


_Entry = TypeVar("_Entry", _NamedCluster, _NamedUser, _NamedContext)


def _read(path: Path, field: str, base: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            str(base), field, f"{_which(path, base)}cannot be read: {error.strerror}"
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(str(base), field, f"{_which(path, base)}is larger than {MAX_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(str(base), field, f"{_which(path, base)}is not UTF-8 text") from error


def _which(path: Path, base: Path) -> str:
    """The file that a kubeconfig names, where it is not the kubeconfig itself, which errors name anyway."""
    return "" if path == base else f"{path} "


def _parse(path: Path) -> _File:
    try:
        document = yaml.safe_load(_read(path, "", path))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}" if mark else ""
        raise ConfigError(str(path), place, f"is not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(str(path), "", "is not valid YAML") from error
    try:
        return msgspec.convert({} if document is None else document, _File)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise ConfigError(str(path), place.strip("`."), problem) from error


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    index: int


class _Merged:
    """Several kubeconfig files read as one: of entries with one name the first file's counts."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.files = [(path, _parse(path)) for path in paths]

    @property
    def name(self) -> str:
        return os.pathsep.join(str(path) for path, _ in self.files)

    def current(self) -> str:
        return next((content.current_context for _, content in self.files if content.current_context), "")

    def entry(self, field: str, wanted: str, referrer: str) -> tuple[Any, _Found]:
        known: list[str] = []
        for path, content in self.files:
            for index, entry in enumerate(getattr(content, field) or ()):
                if entry.name == wanted:
                    return entry, _Found(path, index)
                known.append(entry.name)
        choices = ", ".join(sorted(known)) or "none"
        raise ConfigError(self.name, referrer, f"{wanted!r} is not among {field}; there are: {choices}")


def default_paths(environment: Mapping[str, str]) -> list[Path]:
    """The files that kubectl would read: $KUBECONFIG (several, separated as in PATH), else ~/.kube/config."""
    listed = [part for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    if listed:
        return [Path(part) for part in listed]
    home = environment.get("HOME", "")
    return [Path(home) / ".kube" / "config"] if home else []


def load_kubeconfig(
    paths: Sequence[Path], *, context: str = "", environment: Mapping[str, str] | None = None
) -> Connection:
    """The connection that `context` (or the current context) of these files names.

    Files that do not exist are passed over when there are several. `environment` is handed on to exec plugins
    (the process's own when None). Raises ConfigError.
    """
    existing = [path for path in paths if path.exists()] if len(paths) > 1 else list(paths)
    if not existing:
        raise ConfigError(os.pathsep.join(map(str, paths)) or "kubeconfig", "", "there is no such file")
    merged = _Merged(existing)
    name = context or merged.current()
    if not name:
        raise ConfigError(merged.name, "current-context", "is not set; name a context")
    chosen, where = merged.entry("contexts", name, "current-context" if not context else "context")
    place = f"contexts[{where.index}].context"
    cluster, cluster_at = merged.entry("clusters", chosen.context.cluster, f"{place}.cluster")
    user = _User()
    user_at = where
    if chosen.context.user:
        entry, user_at = merged.entry("users", chosen.context.user, f"{place}.user")
        user = entry.user or _User()
    settings: _Cluster = cluster.cluster
    field = f"clusters[{cluster_at.index}].cluster"
    if not settings.server.startswith(("https://", "http://")):
        problem = "must be a URL that begins with https:// or http://"
        raise ConfigError(str(cluster_at.path), f"{field}.server", problem)
    ca = _material(
        cluster_at.path,
        field,
        "certificate-authority",
        settings.certificate_authority,
        settings.certificate_authority_data,
    )
    if ca is not None and settings.insecure_skip_tls_verify:
        problem = "cannot be combined with a certificate authority"
        raise ConfigError(str(cluster_at.path), f"{field}.insecure-skip-tls-verify", problem)
    return Connection(
        server=settings.server.rstrip("/"),
        ca=ca,
        insecure=settings.insecure_skip_tls_verify,
        tls_server_name=settings.tls_server_name,
        proxy=settings.proxy_url,
        credentials=_credentials(
            user, user_at, settings.server, ca, os.environ if environment is None else environment
        ),
        namespace=chosen.context.namespace,
    )


def _material(path: Path, entry: str, field: str, file: str, data: str) -> str | None:
    """PEM text from base64 `data`, which goes first, or from `file` (relative to the kubeconfig)."""
    if data:
        try:
            return base64.b64decode(data, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError, ValueError) as error:
            raise ConfigError(str(path), f"{entry}.{field}-data", "is not base64 of PEM text") from error
    if file:
        return _read(path.parent / file, f"{entry}.{field}", path)
    return None


def _credentials(
    user: _User, at: _Found, server: str, ca: str | None, environment: Mapping[str, str]
) -> Credentials:
    field = f"users[{at.index}].user"
    if user.auth_provider is not None:
        raise ConfigError(
            str(at.path), f"{field}.auth-provider", "is no longer supported by Kubernetes; use exec"
        )
    if user.username:
        raise ConfigError(
            str(at.path), f"{field}.username", "passwords are no longer supported by Kubernetes"
        )
    if user.impersonate:
        raise ConfigError(str(at.path), f"{field}.as", "impersonation is not supported")
    certificate = _material(
        at.path, field, "client-certificate", user.client_certificate, user.client_certificate_data
    )
    key = _material(at.path, field, "client-key", user.client_key, user.client_key_data)
    if (certificate is None) != (key is None):
        missing = "client-key" if key is None else "client-certificate"
        raise ConfigError(str(at.path), f"{field}.{missing}", "is missing; certificate and key come together")
    if user.exec is not None and certificate is None:
        return ExecPlugin(
            command=user.exec.command,
            arguments=tuple(user.exec.args or ()),
            variables={variable.name: variable.value for variable in user.exec.env or ()},
            api_version=user.exec.api_version or "client.authentication.k8s.io/v1",
            directory=at.path.parent,
            environment=environment,
            cluster={
                "server": server,
                "certificate-authority-data": base64.b64encode(ca.encode()).decode() if ca else "",
            }
            if user.exec.provide_cluster_info
            else None,
        )
    if user.token_file:
        path = at.path.parent / user.token_file
        _read(path, f"{field}.tokenFile", at.path)
        return FileToken(path, certificate, key)
    return StaticCredential(user.token.strip(), certificate, key)


def in_cluster(environment: Mapping[str, str], mount: Path = SERVICE_ACCOUNT) -> Connection:
    """The connection of a pod's own service account; its token is read again as Kubernetes renews it.

    Raises ConfigError outside of a cluster.
    """
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        problem = "is not set; this process does not run in a pod"
        raise ConfigError("environment", "KUBERNETES_SERVICE_HOST", problem)
    _read(mount / "token", "token", mount)
    namespace = mount / "namespace"
    return Connection(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ca=_read(mount / "ca.crt", "ca.crt", mount),
        credentials=FileToken(mount / "token"),
        namespace=_read(namespace, "namespace", mount).strip() if namespace.exists() else "",
    )
