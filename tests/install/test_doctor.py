"""What the doctor finds, each with a cluster that has it and one that has not."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cli.world import Result, aliquot
from tests.install.test_install import lease
from tests.install.world import Bare, gpu_pod

from aliquot import manifests
from aliquot.install.checks import api, clock, permissions
from aliquot.install.checks.permissions import rights
from aliquot.install.checks.policies import covers
from aliquot.kube.errors import ApiError


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """One cluster for all: each test takes away what it brought."""
    with Bare(tmp_path_factory.mktemp("doctor") / "cluster").running() as found:
        yield found


@pytest.fixture
def run(bare: Bare, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> Result:
        return aliquot(capsys, *arguments, "--kubeconfig", str(bare.kubeconfig))

    return call


@pytest.fixture
def installed(run: Any) -> None:
    assert run("install", "--yes", "--no-deployment").code == 0


def findings(run: Any, *groups: str) -> dict[str, dict[str, Any]]:
    """Findings by check; of several, the last."""
    only = [word for group in groups for word in ("--only", group)]
    return {one["check"]: one for one in json.loads(run("doctor", *only, "-o", "json").out)["items"]}


def test_a_cluster_without_aliquot_is_told_what_is_missing(bare: Bare, run: Any) -> None:
    for plural in ("validating", "mutating"):
        assert bare.list(f"{plural}admissionpolicies.admissionregistration.k8s.io") == []
    done = run("doctor")
    assert done.code == 1
    lines = done.out.splitlines()
    assert "error   drivers/list: ConfigMap aliquot-system/aliquot-drivers is missing" in lines
    assert any(line.startswith("error   admission/claims: a forged claim would be taken") for line in lines)
    assert any(line.startswith("error   controller/leader: no controller holds the lease") for line in lines)
    for index, line in enumerate(lines):
        if line.startswith(("error", "warning")):
            assert lines[index + 1].startswith("        fix: "), line
    assert re.fullmatch(r"\d+ findings: .*\d+ error.*", lines[-1])


@pytest.mark.usefixtures("installed")
class TestInstalled:
    def test_all_is_well_and_the_status_says_so(self, bare: Bare, run: Any) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
        held = lease("me")
        held["spec"]["renewTime"] = now
        bare.create(held)
        done = run("doctor")
        bare.delete("leases.coordination.k8s.io", "aliquot-controller", manifests.NAMESPACE)
        assert done.code == 0, done.out
        harmless = ("ok ", "info ", "unknown ", " ")
        assert [line for line in done.out.splitlines()[:-1] if not line.startswith(harmless)] == []

    def test_output_for_programs_has_everything(self, run: Any) -> None:
        document = json.loads(run("doctor", "--only", "api", "-o", "json").out)
        assert document["kind"] == "FindingList"
        assert {"check", "level", "problem", "fix", "facts"} == set(document["items"][0])
        assert sum(document["summary"].values()) == len(document["items"])

    def test_features_that_a_dry_run_keeps_are_seen(self, run: Any) -> None:
        document = json.loads(run("doctor", "--only", "api", "-o", "json").out)
        gates = {
            one["facts"]["gate"]: one["facts"]["enabled"]
            for one in document["items"]
            if one["check"] == "api/features" and "gate" in one["facts"]
        }
        assert gates == {"DRAPrioritizedList": True, "DRAConsumableCapacity": True, "DRADeviceTaints": True}

    def test_an_incomplete_pool_is_an_error_with_its_numbers(self, bare: Bare, run: Any) -> None:
        one = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"name": "half"},
            "spec": {
                "driver": "gpu.nvidia.com",
                "nodeName": "plain-0",
                "pool": {"name": "half", "generation": 1, "resourceSliceCount": 2},
                "devices": [{"name": "gpu-9"}],
            },
        }
        bare.create(one)
        found = findings(run, "drivers")["drivers/pools"]
        bare.delete("resourceslices.resource.k8s.io", "half")
        assert found["level"] == "error"
        assert "gpu.nvidia.com half: 1 of 2 slices" in found["problem"]
        assert findings(run, "drivers")["drivers/pools"]["level"] == "ok"

    def test_slices_of_an_older_generation_do_not_count(self, bare: Bare, run: Any) -> None:
        for generation in (1, 2):
            bare.create(
                {
                    "apiVersion": "resource.k8s.io/v1",
                    "kind": "ResourceSlice",
                    "metadata": {"name": f"g{generation}"},
                    "spec": {
                        "driver": "gpu.nvidia.com",
                        "nodeName": "plain-0",
                        "pool": {"name": "old", "generation": generation, "resourceSliceCount": 1},
                        "devices": [{"name": "gpu-9"}],
                    },
                }
            )
        found = findings(run, "drivers")["drivers/pools"]
        for generation in (1, 2):
            bare.delete("resourceslices.resource.k8s.io", f"g{generation}")
        assert found["level"] == "ok"

    @pytest.mark.parametrize(
        ("words", "level", "text"),
        [
            (
                "pool=plain-*",
                "ok",
                r"(\d+) devices, \1 of them in pools that are Aliquot's \(plain-\*\)",
            ),
            ("pool=nowhere", "warning", r"devices, none in a pool that is Aliquot's \(nowhere\)"),
        ],
    )
    def test_devices_are_counted_by_whose_pools_they_are_in(
        self, bare: Bare, run: Any, words: str, level: str, text: str
    ) -> None:
        before = bare.get("configmaps", manifests.DRIVERS, manifests.NAMESPACE)
        assert before is not None
        bare.update("configmaps", before | {"data": {"gpu.nvidia.com": words}})
        found = findings(run, "drivers")["drivers/published"]
        after = bare.get("configmaps", manifests.DRIVERS, manifests.NAMESPACE)
        assert after is not None
        bare.update("configmaps", after | {"data": before["data"]})
        assert found["level"] == level
        assert re.search(text, found["problem"])

    def test_a_class_whose_extended_resource_is_not_listed_is_an_error(self, bare: Bare, run: Any) -> None:
        selector = {"cel": {"expression": "device.driver == 'gpu.nvidia.com'"}}
        bare.create(
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "DeviceClass",
                "metadata": {"name": "sneaky"},
                "spec": {"selectors": [selector], "extendedResourceName": "example.com/gpu"},
            }
        )
        found = findings(run, "drivers")["drivers/extended"]
        bare.delete("deviceclasses.resource.k8s.io", "sneaky")
        assert found["level"] == "error"
        assert "add example.com/gpu to the key gpu.nvidia.com" in found["fix"]

    def test_a_node_with_two_who_hand_out_its_devices_is_an_error(self, bare: Bare, run: Any) -> None:
        (node,) = bare.list("nodes")
        changed = json.loads(json.dumps(node))
        changed["status"]["allocatable"]["nvidia.com/gpu"] = "8"
        bare.update("nodes", changed, subresource="status")
        found = findings(run, "drivers")["drivers/plugins"]
        fresh = bare.list("nodes")[0]
        fresh["status"]["allocatable"].pop("nvidia.com/gpu")
        bare.update("nodes", fresh, subresource="status")
        assert found["level"] == "error"
        assert found["facts"]["nodes"] == [node["metadata"]["name"]]

    def test_missing_and_altered_policies_are_found(self, bare: Bare, run: Any) -> None:
        plural = "validatingadmissionpolicies.admissionregistration.k8s.io"
        policy = bare.get(plural, "one-allocator.aliquot.dev")
        assert policy is not None
        policy["spec"]["validations"] = policy["spec"]["validations"][:1]
        bare.update(plural, policy)
        bare.delete(
            "validatingadmissionpolicybindings.admissionregistration.k8s.io", "extended-claims.aliquot.dev"
        )
        found = findings(run, "policies", "admission")
        assert found["policies/present"]["facts"]["missing"] == [
            "ValidatingAdmissionPolicyBinding extended-claims.aliquot.dev"
        ]
        assert found["policies/contents"]["facts"]["policies"] == [
            "ValidatingAdmissionPolicy one-allocator.aliquot.dev"
        ]
        assert found["admission/claims"]["level"] == "error"

    def test_gates_are_tried_in_a_managed_namespace(self, bare: Bare, run: Any) -> None:
        assert findings(run, "admission")["admission/namespaces"]["level"] == "info"
        bare.namespace("tried", managed=True)
        assert findings(run, "admission")["admission/gates"]["level"] == "ok"
        plural = "mutatingadmissionpolicybindings.admissionregistration.k8s.io"
        bare.delete(plural, "gate.aliquot.dev")
        bare.delete(plural, "gate-extended.aliquot.dev")
        found = findings(run, "admission")["admission/gates"]
        bare.delete("namespaces", "tried")
        assert found["level"] == "error"
        assert "is not gated" in found["problem"]

    def test_pods_of_others_and_by_hand_are_reported(self, bare: Bare, run: Any) -> None:
        bare.namespace("hands", managed=True)
        bare.create(gpu_pod("placed", "hands", nodeName="plain-0"))
        bare.create(gpu_pod("waits", "hands"))
        found = findings(run, "pods")
        bare.delete("namespaces", "hands")
        assert found["pods/hand-placed"]["facts"]["pods"] == ["hands/placed"]
        assert found["pods/gated"]["level"] == "warning", "nobody decides here"

    def test_waiting_gives_up_in_time(self, bare: Bare, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("aliquot.cli.doctor.LOOK_AGAIN_SECONDS", 0.05)
        assert run("doctor", "--only", "policies", "--wait", "5").code == 0
        plural = "validatingadmissionpolicybindings.admissionregistration.k8s.io"
        bare.delete(plural, "queues.aliquot.dev")
        assert run("doctor", "--only", "policies", "--wait", "5", "--fail-on", "error").code == 0
        assert run("doctor", "--only", "policies").code == 1
        bare.delete(plural, "one-allocator.aliquot.dev")
        done = run("doctor", "--only", "policies", "--wait", "1", "--fail-on", "error")
        assert done.code == 1
        assert "Not yet as it should be; looking again." in done.err


def deployment(name: str, *arguments: str, image: str = "x", **env: str) -> dict[str, Any]:
    variables = [{"name": key, "value": value} for key, value in env.items()]
    container = {"name": "a", "image": image, "args": list(arguments), "env": variables}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"a": name}},
            "template": {"metadata": {"labels": {"a": name}}, "spec": {"containers": [container]}},
        },
    }


NEIGHBOURS = [
    (deployment("karpenter"), "neighbours/karpenter", "warning"),
    (deployment("karpenter", "--ignore-dra-requests=true"), "neighbours/karpenter", "warning"),
    (deployment("karpenter", "--ignore-dra-requests=false"), "neighbours/karpenter", "ok"),
    (deployment("karpenter", "--ignore-dra-requests", "false"), "neighbours/karpenter", "ok"),
    (deployment("karpenter", IGNORE_DRA_REQUESTS="false"), "neighbours/karpenter", "ok"),
    (deployment("a", image="r.example/karpenter/controller:1"), "neighbours/none", "ok"),
    (
        deployment("ca", image="r.example/cluster-autoscaler:1"),
        "neighbours/cluster-autoscaler",
        "warning",
    ),
    (
        deployment("ca", "--enable-dynamic-resource-allocation=true", image="r.example/cluster-autoscaler:1"),
        "neighbours/cluster-autoscaler",
        "ok",
    ),
]


@pytest.mark.parametrize(("document", "check", "level"), NEIGHBOURS)
def test_autoscalers_that_do_not_see_claims(
    bare: Bare, run: Any, document: dict[str, Any], check: str, level: str
) -> None:
    bare.create(document)
    found = findings(run, "neighbours")
    bare.delete("deployments.apps", document["metadata"]["name"], "kube-system")
    assert found[check]["level"] == level


@pytest.mark.usefixtures("installed")
def test_another_scheduler_with_devices_of_a_managed_driver_is_an_error(bare: Bare, run: Any) -> None:
    drivers = bare.get("configmaps", manifests.DRIVERS, manifests.NAMESPACE)
    assert drivers is not None
    managed = drivers["data"]
    # It allocated before the driver was managed.
    bare.update("configmaps", drivers | {"data": {}})
    request = {"name": "a", "exactly": {"deviceClassName": "gpu.nvidia.com"}}
    claim = bare.create(
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"name": "held", "namespace": "default"},
            "spec": {"devices": {"requests": [request]}},
        }
    )
    result = {"request": "a", "driver": "gpu.nvidia.com", "pool": "plain-0", "device": "gpu-0"}
    status = {"allocation": {"devices": {"results": [result]}}}
    bare.update("resourceclaims.resource.k8s.io", claim | {"status": status}, subresource="status")
    fresh = bare.get("configmaps", manifests.DRIVERS, manifests.NAMESPACE)
    assert fresh is not None
    bare.update("configmaps", fresh | {"data": managed})
    claims = [{"name": "a", "resourceClaimName": "held"}]
    bare.create(
        gpu_pod(
            "k",
            "default",
            schedulerName="kai-scheduler",
            resourceClaims=claims,
            containers=[{"name": "a", "image": "x"}],
        )
    )
    found = findings(run, "neighbours")
    bare.delete("pods", "k", "default")
    assert found["neighbours/schedulers"]["level"] == "error"
    assert "pods of kai-scheduler hold devices of gpu.nvidia.com" in found["neighbours/schedulers"]["problem"]
    assert found["neighbours/kai"]["level"] == "info"


def test_an_unreachable_server_is_no_finding_but_an_error(
    tmp_path: Path, bare: Bare, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load(bare.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    done = aliquot(capsys, "doctor", "--kubeconfig", str(tmp_path / "config"))
    assert done.code == 2
    assert "is the cluster up?" in done.err


async def test_a_clock_that_is_off_is_told_with_its_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cluster:
        async def items(self, *_: Any, **__: Any) -> Any:
            for name, seconds in (("n1", 0), ("n2", 60)):
                renewed = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
                yield {"metadata": {"name": name}, "spec": {"renewTime": renewed}}

    for offset, expected in ((0, "goes with"), (-120, "is 119 s ahead of"), (120, "is 120 s behind")):

        async def server_time(_: Any, offset: int = offset) -> datetime:
            return (datetime.now(UTC) + timedelta(seconds=offset)).replace(microsecond=0)

        monkeypatch.setattr(clock, "_server_time", server_time)
        found = {one.check: one async for one in clock.check(Cluster())}  # type: ignore[arg-type]
        text = found["clock/here"].problem
        assert expected in text or (offset and re.search(r"is 1(19|20) s (ahead of|behind)", text)), text
        if not offset:
            assert found["clock/nodes"].facts["nodes"] == ["n2"]


@pytest.mark.parametrize(
    ("kubelet", "minor", "fits"),
    [("v1.36.2", 36, True), ("v1.34.0", 36, True), ("v1.33.9", 36, False), ("v1.37.0", 36, False)],
)
async def test_kubelets_that_do_not_go_with_the_server(kubelet: str, minor: int, fits: bool) -> None:
    class Cluster:
        async def items(self, *_: Any) -> Any:
            yield {"metadata": {"name": "n"}, "status": {"nodeInfo": {"kubeletVersion": kubelet}}}

    (found,) = [one async for one in api._skew(Cluster(), minor)]  # type: ignore[arg-type]
    assert (found.level.value == "ok") is fits


@pytest.mark.parametrize(
    ("stored", "shipped", "same"),
    [
        ({"a": 1, "default": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": "x"}, {"a": "y"}, False),
    ],
)
def test_a_stored_object_covers_what_was_shipped(stored: Any, shipped: Any, same: bool) -> None:
    assert covers(stored, shipped) is same


def test_every_right_of_the_shipped_roles_is_asked_about() -> None:
    found = set(rights())
    assert any(right.resource == "resourceclaims/binding" and right.verb == "patch" for right in found)
    assert any(right.name == "aliquot-drivers" and right.namespace == manifests.NAMESPACE for right in found)


@pytest.mark.usefixtures("installed")
def test_the_controller_asks_about_itself(bare: Bare, capsys: pytest.CaptureFixture[str]) -> None:
    config = bare.kubeconfig.with_name("controller.kubeconfig")
    done = aliquot(capsys, "doctor", "--only", "permissions", "-o", "json", "--kubeconfig", str(config))
    (found,) = json.loads(done.out)["items"]
    assert found["level"] == "ok"


class Refusing:
    """A cluster that lets the caller ask nothing, or says no to everything."""

    def __init__(self, *, forbidden: bool) -> None:
        self._forbidden = forbidden

    async def serves(self, *_: str) -> bool:
        return False

    async def review(self, kind: str, spec: Any, group: str = "") -> dict[str, Any]:
        if self._forbidden:
            raise ApiError(403, "Forbidden", "no")
        return {"allowed": "coordination.k8s.io" in str(spec)}


async def test_what_the_controller_may_not_do_is_named() -> None:
    (found,) = [one async for one in permissions.check(Refusing(forbidden=False))]  # type: ignore[arg-type]
    assert found.level.value == "error"
    assert "patch resourceclaims/binding.resource.k8s.io" in found.facts["lacking"]
    assert not [text for text in found.facts["lacking"] if "leases" in text]


async def test_whoever_may_not_ask_is_told_so() -> None:
    (found,) = [one async for one in permissions.check(Refusing(forbidden=True))]  # type: ignore[arg-type]
    assert found.level.value == "unknown"
    assert "subjectaccessreviews" in found.fix
