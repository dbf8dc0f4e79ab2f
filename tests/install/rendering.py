"""Running helm and kustomize offline, and comparing what they give."""

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "aliquot"
KUSTOMIZE = ROOT / "deploy" / "kustomize"
MINORS = (34, 35, 36, 37)

Json = dict[str, Any]

# The files of schemas are large, and the library reads them anew for each object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


@functools.cache
def helm(*arguments: str, ok: bool = True) -> str:
    """What helm prints; it keeps nothing and asks no network."""
    path = Path(sys.executable).with_name("helm")
    if not path.exists():
        pytest.skip("helm is not installed (helm-binary)")
    done = subprocess.run(
        [str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "HOME": "/nonexistent", "HELM_NAMESPACE": "", "KUBECONFIG": "/nonexistent"},
    )
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout + ("" if ok else done.stderr)


def template(minor: int = 36, *arguments: str) -> list[Json]:
    """The chart's objects for Kubernetes 1.`minor`."""
    text = helm(
        "template",
        "aliquot",
        str(CHART),
        "-n",
        "aliquot-system",
        "--kube-version",
        f"1.{minor}.0",
        *arguments,
    )
    return documents(text)


def kustomize(name: str, kubectl: str) -> list[Json]:
    """The objects of a kustomization."""
    return documents(_kustomize(name, kubectl))


@functools.cache
def _kustomize(name: str, kubectl: str) -> str:
    done = subprocess.run(
        [kubectl, "kustomize", str(KUSTOMIZE / name)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(text: str) -> list[Json]:
    """The documents of a YAML text."""
    return [one for one in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if one]


def by_name(objects: list[Json]) -> dict[tuple[str, str, str], Json]:
    """Objects by kind, namespace and name; none twice."""
    found = {
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in objects
    }
    assert len(found) == len(objects)
    return found


def check(obj: Json, minor: int) -> None:
    """Raises where the published schemas of Kubernetes 1.`minor` do not have the object, unknown fields
    included.
    """
    kubernetes_validate.validate(obj, f"1.{minor}", strict=True)
