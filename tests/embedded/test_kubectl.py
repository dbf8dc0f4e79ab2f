"""The real kubectl against the server: what people type, and what they read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from documents import VALID, definition

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx:1", "ports": [{"containerPort": 80}]}]},
        },
    },
}


def manifest(name: str, api_version: str, kind: str) -> str:
    return json.dumps({"apiVersion": api_version, "kind": kind, **VALID[name]})


def text(document: Any) -> str:
    return json.dumps(document)


async def test_apply_edits_diffs_and_deletes(kubectl: Any) -> None:
    made = await kubectl("apply", "-f", "-", input=text(DEPLOYMENT))
    assert made.out == "deployment.apps/web created\n"
    again = await kubectl("apply", "-f", "-", input=text(DEPLOYMENT))
    assert again.out == "deployment.apps/web unchanged\n"
    changed = json.loads(json.dumps(DEPLOYMENT))
    changed["spec"]["replicas"] = 3
    changed["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "x"})
    diff = await kubectl("diff", "-f", "-", input=text(changed), ok=False)
    assert diff.code == 1, diff
    assert "+  replicas: 3" in diff.out
    assert (await kubectl("apply", "-f", "-", input=text(changed))).out == "deployment.apps/web configured\n"
    shown = json.loads((await kubectl("get", "deploy", "web", "-o", "json")).out)
    assert shown["spec"]["replicas"] == 3
    assert [one["name"] for one in shown["spec"]["template"]["spec"]["containers"]] == ["c", "side"]
    assert (await kubectl("delete", "deploy", "web")).out == 'deployment.apps "web" deleted\n'


async def test_unknown_and_repeated_fields_are_refused_before_anything_changes(kubectl: Any) -> None:
    wrong = json.loads(json.dumps(DEPLOYMENT))
    wrong["spec"]["replica"] = 3
    refused = await kubectl("apply", "-f", "-", input=text(wrong), ok=False)
    assert refused.code == 1
    assert 'strict decoding error: unknown field "spec.replica"' in refused.err
    warned = await kubectl("apply", "--validate=warn", "-f", "-", input=text(wrong))
    assert warned.err == 'Warning: unknown field "spec.replica"\n'
    await kubectl("delete", "deploy", "web")
    ignored = await kubectl("apply", "--validate=ignore", "-f", "-", input=text(wrong))
    assert ignored.err == ""


async def test_server_side_apply_tells_of_conflicts(kubectl: Any) -> None:
    await kubectl("apply", "--server-side", "-f", "-", input=text(DEPLOYMENT))
    await kubectl("scale", "deploy", "web", "--replicas=5")
    refused = await kubectl("apply", "--server-side", "-f", "-", input=text(DEPLOYMENT), ok=False)
    assert refused.code == 1
    assert "Apply failed with 1 conflict" in refused.err
    assert ".spec.replicas" in refused.err
    await kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text(DEPLOYMENT))
    replicas = await kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}")
    assert replicas.out == "2"


async def test_client_side_apply_can_be_followed_by_server_side_apply(kubectl: Any) -> None:
    await kubectl("apply", "-f", "-", input=text(DEPLOYMENT))
    await kubectl("apply", "--server-side", "-f", "-", input=text(DEPLOYMENT))
    shown = await kubectl("get", "deploy", "web", "-o", "json", "--show-managed-fields")
    entries = json.loads(shown.out)["metadata"]["managedFields"]
    assert {entry["operation"] for entry in entries} == {"Apply"}


async def test_typed_commands_work(kubectl: Any) -> None:
    """These send protobuf in newer versions of kubectl."""
    await kubectl("create", "configmap", "c", "--from-literal=a=b")
    await kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    await kubectl("create", "deployment", "d", "--image=nginx", "--replicas=0", "--port=80")
    await kubectl("create", "job", "j", "--image=busybox", "--", "true")
    await kubectl("create", "namespace", "n")
    await kubectl("create", "serviceaccount", "sa")
    await kubectl("create", "priorityclass", "p", "--value=5")
    await kubectl("create", "clusterrole", "r", "--verb=get", "--resource=pods")
    await kubectl("create", "service", "clusterip", "svc", "--tcp=80:8080")
    await kubectl("create", "poddisruptionbudget", "b", "--min-available=1", "--selector=app=x")
    await kubectl("run", "p", "--image=busybox", "--restart=Never")
    shown = json.loads(
        (await kubectl("get", "cm/c", "secret/s", "deploy/d", "job/j", "svc/svc", "-o", "json")).out
    )
    config, secret, deployment, job, service = shown["items"]
    assert config["data"] == {"a": "b"}
    assert secret["data"] == {"a": "Yg=="}
    assert deployment["spec"]["replicas"] == 0
    assert deployment["spec"]["template"]["spec"]["containers"][0]["ports"] == [
        {"containerPort": 80, "protocol": "TCP"}
    ]
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["true"]
    assert service["spec"]["ports"][0]["targetPort"] == 8080
    assert (await kubectl("auth", "can-i", "create", "pods")).out == "yes\n"
    assert "admin" in (await kubectl("auth", "whoami")).out


async def test_small_changes_from_the_command_line(kubectl: Any) -> None:
    await kubectl("apply", "-f", "-", input=text(DEPLOYMENT))
    await kubectl("label", "deploy", "web", "tier=front")
    await kubectl("annotate", "deploy", "web", "note=x")
    await kubectl("set", "image", "deploy/web", "c=nginx:2")
    await kubectl(
        "patch", "deploy", "web", "--type=json", "-p", '[{"op":"remove","path":"/metadata/annotations/note"}]'
    )
    await kubectl("patch", "deploy", "web", "--type=merge", "-p", '{"spec":{"paused":true}}')
    await kubectl(
        "patch", "deploy", "web", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":2}}'
    )
    shown = json.loads((await kubectl("get", "deploy", "-l", "tier=front", "-o", "json")).out)["items"][0]
    assert shown["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2"
    assert "note" not in shown["metadata"]["annotations"]
    assert (shown["spec"]["paused"], shown["status"]["replicas"]) == (True, 2)


async def test_tables_are_those_people_know(kubectl: Any) -> None:
    await kubectl("apply", "-f", "-", input=manifest("pods", "v1", "Pod"))
    await kubectl("apply", "-f", "-", input=manifest("nodes", "v1", "Node"))
    for name, kind in (
        ("resourceclaims", "ResourceClaim"),
        ("resourceslices", "ResourceSlice"),
        ("deviceclasses", "DeviceClass"),
    ):
        document = manifest(f"{name}.resource.k8s.io", "resource.k8s.io/v1", kind)
        await kubectl("apply", "-f", "-", input=document)

    async def head(*arguments: str) -> list[str]:
        return (await kubectl("get", *arguments)).out.splitlines()

    pods = await head("pods", "-o", "wide")
    assert pods[0].split() == [
        "NAME",
        "READY",
        "STATUS",
        "RESTARTS",
        "AGE",
        "IP",
        "NODE",
        "NOMINATED",
        "NODE",
        "READINESS",
        "GATES",
    ]
    assert pods[1].split()[:4] == ["a", "0/1", "SchedulingGated", "0"]
    assert (await head("resourceclaims"))[1].split()[:2] == ["a", "pending"]
    assert (await head("resourceslices"))[1].split()[:4] == ["a", "n1", "gpu.example.com", "n1"]
    assert (await head("nodes"))[1].split()[:3] == ["a", "Ready", "<none>"]
    assert (await head("pods", "--field-selector=spec.nodeName=x", "--no-headers")) == []
    assert (await head("pods", "-A", "-o", "name")) == ["pod/a"]
    columns = "custom-columns=N:.metadata.name,P:.status.phase"
    assert (await head("pods", "-o", columns))[1].split() == ["a", "Pending"]


async def test_a_watch_prints_each_change(server: Any, kubectl: Any) -> None:
    from aliquot.embedded.registry import SYSTEM

    await kubectl("create", "configmap", "first")
    watching = asyncio.create_task(
        kubectl("get", "configmaps", "--watch", "--request-timeout=4s", "-o", "name", ok=False)
    )
    maps = server.registry.resources.named("configmaps")
    async with asyncio.timeout(10):
        await server.registry.log(maps).watched.wait()
    server.registry.create(maps, "default", {"metadata": {"name": "second"}}, SYSTEM)
    out = (await watching).out
    assert out.splitlines() == ["configmap/first", "configmap/second"]


async def test_waiting_for_deletion_and_conditions(kubectl: Any) -> None:
    await kubectl("create", "-f", "-", input=manifest("configmaps", "v1", "ConfigMap"))
    await kubectl("delete", "configmap", "a", "--wait=true", "--timeout=5s")
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", **definition()}
    await kubectl("apply", "-f", "-", input=text(crd))
    await kubectl("wait", "--for=condition=Established", "crd/things.example.com", "--timeout=5s")


async def test_custom_resources_at_once(kubectl: Any) -> None:
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", **definition()}
    await kubectl("apply", "-f", "-", input=text(crd))
    thing = {
        "apiVersion": "example.com/v1",
        "kind": "Thing",
        "metadata": {"name": "t"},
        "spec": {"kind": "b"},
    }
    await kubectl("apply", "-f", "-", input=text(thing))
    rows = (await kubectl("get", "th")).out.splitlines()
    assert rows[0].split() == ["NAME", "SIZE", "AGE"]
    assert rows[1].split()[:2] == ["t", "3"]
    assert (
        await kubectl("get", "things", "--field-selector=spec.kind=b", "-o", "name")
    ).out == "thing.example.com/t\n"
    thing["spec"] = {"size": 0, "oops": 1}
    refused = await kubectl("apply", "-f", "-", input=text(thing), ok=False)
    assert 'unknown field "spec.oops"' in refused.err
    thing["spec"] = {"size": 0}
    refused = await kubectl("apply", "-f", "-", input=text(thing), ok=False)
    assert "spec.size in body should be greater than or equal to 1" in refused.err
    assert "size" in (await kubectl("explain", "thing.spec")).out


@pytest.mark.parametrize(
    "path",
    [
        "pod.spec.containers.resources",
        "resourceclaim.spec.devices.requests.exactly",
        "job.spec",
        "node.status",
    ],
)
async def test_explain(kubectl: Any, path: str) -> None:
    assert "FIELDS:" in (await kubectl("explain", path)).out


async def test_errors_read_as_those_of_kubernetes(kubectl: Any) -> None:
    missing = await kubectl("get", "pod", "nope", ok=False)
    assert missing.err == 'Error from server (NotFound): pods "nope" not found\n'
    broken = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": "x"}}
    refused = await kubectl("create", "-f", "-", "--validate=false", input=text(broken), ok=False)
    assert "json: cannot unmarshal string into Go struct field Pod.spec.containers" in refused.err
    broken["spec"] = {"containers": []}
    refused = await kubectl("create", "-f", "-", input=text(broken), ok=False)
    assert refused.err == 'The Pod "a" is invalid: spec.containers: Required value\n'
    unknown = {"apiVersion": "v1", "kind": "Nonsense", "metadata": {"name": "a"}}
    refused = await kubectl("create", "-f", "-", input=text(unknown), ok=False)
    assert 'no matches for kind "Nonsense" in version "v1"' in refused.err


async def test_nodes_are_cordoned_and_drained(kubectl: Any) -> None:
    await kubectl("apply", "-f", "-", input=manifest("nodes", "v1", "Node"))
    await kubectl("cordon", "a")
    assert "SchedulingDisabled" in (await kubectl("get", "node", "a")).out
    await kubectl("taint", "node", "a", "x=y:NoExecute")
    await kubectl("drain", "a", "--force")
    await kubectl("uncordon", "a")
    assert "Taints:" in (await kubectl("describe", "node", "a")).out


async def test_discovery_lists_what_is_served(kubectl: Any) -> None:
    names = (await kubectl("api-resources", "--no-headers", "-o", "name")).out.split()
    for name in ("pods", "resourceclaims.resource.k8s.io", "podgroups.scheduling.k8s.io", "jobs.batch"):
        assert name in names
    versions = (await kubectl("api-versions")).out.split()
    assert {"v1", "apps/v1", "resource.k8s.io/v1", "resource.k8s.io/v1beta2"} <= set(versions)
    assert "Server Version: v1.36" in (await kubectl("version")).out
    assert (await kubectl("get", "--raw", "/healthz")).out == "ok"
