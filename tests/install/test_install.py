"""Installing, doing it again, and taking it all away, as people do it: by the command line."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.acceptance.cluster import kubectl_path
from tests.cli.world import Result, aliquot
from tests.install.rendering import KUSTOMIZE, by_name
from tests.install.world import Bare, gpu_pod

from aliquot import manifests
from aliquot.embedded.hooks import User
from aliquot.install import removing
from aliquot.install.objects import Gates, Options, wanted
from aliquot.install.plan import differences
from aliquot.model.core import PLACEMENT_GATE


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Bare]:
    with Bare(tmp_path / "cluster").running() as found:
        yield found


@pytest.fixture
def run(bare: Bare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line against the cluster."""
    monkeypatch.setattr(removing, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(removing, "PATIENCE_SECONDS", 0.1)

    def call(*arguments: str) -> Result:
        return aliquot(capsys, *arguments, "--kubeconfig", str(bare.kubeconfig))

    return call


def test_a_dry_run_prints_what_would_be_applied_for_a_version(capsys: pytest.CaptureFixture[str]) -> None:
    for minor, gates in ((36, Gates.V1), (34, Gates.NONE)):
        done = aliquot(capsys, "install", "--dry-run", "--kubernetes-version", f"1.{minor}")
        assert done.code == 0
        expected = wanted(Options(minor=minor, gates=gates))
        assert list(yaml.safe_load_all(done.out)) == list(expected)
    assert "`aliquot gate -f`" in done.err


def test_a_dry_run_takes_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    done = aliquot(
        capsys,
        *(
            "install",
            "--dry-run",
            "--kubernetes-version",
            "v1.36.2",
            "--image",
            "r.example/aliquot:9",
            "-o",
            "json",
        ),
        *(
            "--replicas",
            "3",
            "--driver",
            "gpu.nvidia.com=nvidia.com/gpu,example.com/g",
            "--driver",
            "b.example",
        ),
        "--monitoring",
    )
    objects = by_name(json.loads(done.out)["items"])
    deployment = objects["Deployment", "aliquot-system", "aliquot-controller"]["spec"]
    assert deployment["replicas"] == 3
    images = {one["image"] for one in deployment["template"]["spec"]["containers"]}
    assert images == {"r.example/aliquot:9"}
    assert objects["ConfigMap", "aliquot-system", "aliquot-drivers"]["data"] == {
        "gpu.nvidia.com": "nvidia.com/gpu example.com/g",
        "b.example": "",
    }
    assert ("ServiceMonitor", "aliquot-system", "aliquot-controller") in objects


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--dry-run", "--kubernetes-version", "1.33"), "too old"),
        (("--dry-run", "--kubernetes-version", "2"), "is not a version; write 1.36"),
        (("--kubernetes-version", "1.36"), "goes with --dry-run"),
        (("--dry-run", "--kubernetes-version", "1.36", "--driver", "nvidia.com/gpu"), "is not NAME"),
        (("--no-drivers", "--driver", "a"), "exclude each other"),
    ],
)
def test_choices_that_make_no_sense_are_refused_with_the_fix(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    done = aliquot(capsys, "install", *arguments)
    assert done.code == 2
    assert said in done.err


def test_it_shows_its_plan_installs_and_is_then_done(bare: Bare, run: Any) -> None:
    planned = run("install", "--plan")
    assert planned.code == 1
    assert "create  Deployment aliquot-system/aliquot-controller" in planned.out
    assert (
        "skip    NetworkPolicy aliquot-system/aliquot-controller (the cluster does not serve" in planned.out
    )
    assert bare.get("namespaces", manifests.NAMESPACE) is None, "a plan changes nothing"

    refused = run("install")
    assert refused.code == 2
    assert "give --yes" in refused.err
    assert bare.get("namespaces", manifests.NAMESPACE) is None

    done = run("install", "--yes")
    assert done.code == 0, done.err
    assert "MutatingAdmissionPolicyBinding gate.aliquot.dev created" in done.out
    bare.namespace("team", managed=True)
    made = bare.create(gpu_pod("p", "team"))
    assert [gate["name"] for gate in made["spec"]["schedulingGates"]] == [PLACEMENT_GATE]

    again = run("install", "--plan")
    assert (again.code, again.out.splitlines()[-1].split()[0]) == (0, "keep")
    assert "Nothing to do." in run("install").err


def test_an_upgrade_shows_what_differs_and_keeps_what_is_the_clusters_own(bare: Bare, run: Any) -> None:
    run("install", "--yes")
    deployment = bare.get("deployments.apps", "aliquot-controller", manifests.NAMESPACE)
    assert deployment is not None
    deployment["spec"]["replicas"] = 1
    bare.update("deployments.apps", deployment)
    drivers = bare.get("configmaps", manifests.DRIVERS, manifests.NAMESPACE)
    assert drivers is not None
    drivers["data"] = {"gpu.nvidia.com": "nvidia.com/gpu"}
    bare.update("configmaps", drivers)
    bare.delete("validatingadmissionpolicybindings.admissionregistration.k8s.io", "gate-guard.aliquot.dev")

    planned = json.loads(run("install", "--plan", "-o", "json").out)
    todo = {
        (one["action"], one["kind"]): one["changes"]
        for one in planned["items"]
        if one["action"] in ("create", "change")
    }
    assert todo == {
        ("change", "Deployment"): [{"path": "spec.replicas", "before": "1", "after": "2"}],
        ("create", "ValidatingAdmissionPolicyBinding"): [],
    }
    assert planned["summary"]["change"] == 1

    assert run("install", "--yes").code == 0
    kept = bare.get("configmaps", manifests.DRIVERS, manifests.NAMESPACE)
    assert kept is not None
    assert kept["data"] == {"gpu.nvidia.com": "nvidia.com/gpu"}

    moved = run("install", "--yes", "--driver", "gpu.amd.com=amd.com/gpu")
    assert "ConfigMap aliquot-system/aliquot-drivers changed" in moved.out
    changed = bare.get("configmaps", manifests.DRIVERS, manifests.NAMESPACE)
    assert changed is not None
    assert changed["data"] == {"gpu.amd.com": "amd.com/gpu"}


async def test_kubectl_applies_the_same(bare: Bare, run: Any) -> None:
    """kubectl apply -k, and aliquot has nothing left to do but what the server does not serve."""
    process = await asyncio.create_subprocess_exec(
        *(kubectl_path(), "--kubeconfig", str(bare.kubeconfig), "apply", "--server-side"),
        *("-k", str(KUSTOMIZE / "cluster-only")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    assert out.decode().count("serverside-applied") == len(manifests.load())
    planned = json.loads(
        (await asyncio.to_thread(run, "install", "--plan", "--no-deployment", "-o", "json")).out
    )
    assert {one["action"] for one in planned["items"]} == {"keep"}


TRIES = [
    (("patch", "pod", "p", "--type=merge", "-p", '{"spec":{"schedulingGates":[]}}'), "only Aliquot lifts"),
    (("label", "pod", "p", "aliquot.dev/marked=true"), "only Aliquot sets the label"),
    (
        ("annotate", "resourceclaim", "c", "resource.kubernetes.io/extended-resource-claim=true"),
        "only kube-scheduler sets",
    ),
    (
        (
            *("patch", "resourceclaim", "c", "--subresource=status", "--type=merge", "-p"),
            '{"status":{"allocation":{"devices":{"results":[{"request":"a","driver":"gpu.nvidia.com",'
            '"pool":"plain-0","device":"gpu-0"}]}}}}',
        ),
        "only Aliquot allocates devices of driver gpu.nvidia.com",
    ),
]


async def test_an_administrator_with_kubectl_is_refused_what_is_aliquots(bare: Bare, run: Any) -> None:
    await asyncio.to_thread(run, "install", "--yes", "--no-deployment")
    bare.namespace("team", managed=True)
    bare.create(gpu_pod("p", "team"))
    request = {"name": "a", "exactly": {"deviceClassName": "gpu.nvidia.com"}}
    bare.create(
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"name": "c", "namespace": "team"},
            "spec": {"devices": {"requests": [request]}},
        }
    )
    for words, said in TRIES:
        code, err = await kubectl(bare, "-n", "team", *words)
        assert code == 1, words
        assert said in err
    assert (await kubectl(bare, "-n", "team", "label", "pod", "p", "a=b"))[0] == 0
    assert (await kubectl(bare, "-n", "team", "delete", "pod", "p", "--wait=false"))[0] == 0


async def kubectl(bare: Bare, *words: str) -> tuple[int, str]:
    """The status of the real kubectl, and what it complains about."""
    process = await asyncio.create_subprocess_exec(
        *(kubectl_path(), "--kubeconfig", str(bare.kubeconfig), *words),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, err.decode()


def gated(bare: Bare) -> list[str]:
    return [pod["metadata"]["name"] for pod in bare.list("pods") if pod["spec"].get("schedulingGates")]


def test_uninstalling_leaves_nobody_behind_a_gate_and_nothing_of_aliquot(bare: Bare, run: Any) -> None:
    run("install", "--yes", "--no-deployment")
    bare.namespace("team", managed=True)
    bare.namespace("free")
    for name in ("a", "b"):
        bare.create(gpu_pod(name, "team"))
    bare.create(gpu_pod("c", "free", schedulingGates=[{"name": PLACEMENT_GATE}]))
    other = [{"name": "example.com/other"}]
    bare.create(gpu_pod("d", "team", schedulingGates=other))

    planned = json.loads(run("uninstall", "--dry-run", "-o", "json").out)
    assert {one["name"] for one in planned["letGo"]} == {"a", "b", "c", "d"}
    assert planned["deleteNamespace"] is True
    assert gated(bare) == ["c", "a", "b", "d"], "a dry run changes nothing"

    done = run("uninstall", "--yes")
    assert done.code == 0, done.err
    assert gated(bare) == ["d"]
    left = bare.get("pods", "d", "team")
    assert left is not None
    assert left["spec"]["schedulingGates"] == other
    labels = [one["metadata"].get("labels") or {} for one in bare.list("pods")]
    assert all("aliquot.dev/gated" not in found for found in labels)
    for plural in (
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        "mutatingadmissionpolicies.admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
    ):
        assert bare.list(plural) == [], plural
    assert "Namespace aliquot-system deleted" in done.out
    assert [one["metadata"]["name"] for one in bare.list("queues.aliquot.dev")] == []
    assert bare.list("customresourcedefinitions.apiextensions.k8s.io"), "people's queues stay"
    bare.create(gpu_pod("later", "team"))
    assert gated(bare) == ["d"]

    again = run("uninstall", "--yes", "--with-resources")
    assert again.code == 0
    assert bare.list("customresourcedefinitions.apiextensions.k8s.io") == []


def test_allocations_of_running_pods_stay(bare: Bare, run: Any) -> None:
    run("install", "--yes", "--no-deployment", "--no-gates")
    claim = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "c", "namespace": "default"},
        "spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu.nvidia.com"}}]}},
    }
    stored = bare.create(claim)
    result = {"request": "a", "driver": "gpu.nvidia.com", "pool": "plain-0", "device": "gpu-0"}
    written = {**stored, "status": {"allocation": {"devices": {"results": [result]}}}}
    bare.call(
        lambda registry: registry.update(
            registry.resources.named("resourceclaims", "resource.k8s.io"),
            "default",
            "c",
            written,
            User(manifests.CONTROLLER_USER),
            subresource="status",
        )
    )
    done = run("uninstall", "--yes")
    assert "1 allocated claims keep their devices." in done.err
    kept = bare.get("resourceclaims.resource.k8s.io", "c", "default")
    assert kept is not None
    assert kept["status"]["allocation"]["devices"]["results"] == [result]


def lease(holder: str, seconds: int = 3600) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "aliquot-controller", "namespace": manifests.NAMESPACE},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    }


def test_while_a_controller_goes_on_nobody_else_may_allocate(bare: Bare, run: Any) -> None:
    run("install", "--yes", "--no-deployment")
    bare.create(lease("elsewhere"))
    done = run("uninstall", "--yes")
    assert done.code == 2
    assert "controller elsewhere goes on renewing its lease" in done.err
    policies = bare.list("validatingadmissionpolicybindings.admissionregistration.k8s.io")
    assert "one-allocator.aliquot.dev" in [one["metadata"]["name"] for one in policies]
    assert bare.list("mutatingadmissionpolicies.admissionregistration.k8s.io") == []

    assert run("uninstall", "--yes", "--force").code == 0
    assert bare.list("validatingadmissionpolicybindings.admissionregistration.k8s.io") == []


def test_a_controller_that_ended_is_waited_for_no_longer_than_its_lease(bare: Bare, run: Any) -> None:
    run("install", "--yes", "--no-deployment")
    bare.create(lease(""))
    assert run("uninstall", "--yes").code == 0


def test_workloads_that_make_gated_pods_are_told_of(bare: Bare, run: Any) -> None:
    run("install", "--yes", "--no-deployment", "--no-gates")
    template = gpu_pod("p", "default", schedulingGates=[{"name": PLACEMENT_GATE}])
    template["metadata"] = {"labels": {"a": "b"}}
    bare.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "served", "namespace": "default"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template},
        }
    )
    done = run("uninstall", "--yes")
    assert done.code == 1
    assert "Deployment default/served has the gate in its template: take it out" in done.err


def test_a_namespace_with_things_of_others_stays(bare: Bare, run: Any) -> None:
    run("install", "--yes", "--no-deployment")
    bare.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "ledger", "namespace": manifests.NAMESPACE},
        }
    )
    planned = run("uninstall", "--dry-run")
    assert "keep Namespace aliquot-system: it holds Secret ledger" in planned.out
    run("uninstall", "--yes")
    assert bare.get("secrets", "ledger", manifests.NAMESPACE) is not None


def test_differences_leave_out_what_every_write_changes() -> None:
    before = {
        "kind": "A",
        "metadata": {"name": "a", "resourceVersion": "1", "managedFields": []},
        "spec": {"a": [1, {"b": 2}], "c": "x" * 100},
        "status": {"z": 1},
    }
    after = {
        "kind": "A",
        "metadata": {"name": "a", "resourceVersion": "2", "labels": {"l": "m"}},
        "spec": {"a": [1, {"b": 3}]},
    }
    found = {one.path: (one.before, one.after) for one in differences(before, after)}
    assert found == {
        "metadata.labels": ("", "{'l': 'm'}"),
        "spec.a[1].b": ("2", "3"),
        "spec.c": ("x" * 57 + "...", ""),
    }
