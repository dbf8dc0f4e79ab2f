"""The examples of the project, applied as people would, run where Aliquot decided."""

import yaml
from tests.real.cluster import MADE, ROOT, Cluster, Controller, gated, node_of
from tests.real.history import History

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SPACES = ("research", "serving")


def test_examples_are_bound_where_aliquot_decided(
    real: Cluster, history: History, controller: Controller
) -> None:
    for path in EXAMPLES:
        for obj in yaml.safe_load_all(path.read_text()):
            if obj["kind"] == "Namespace":
                obj["metadata"].setdefault("labels", {})[MADE] = "true"
            answer = real.apply(obj)
            if "serviceaccount" in answer.content.decode() and answer.code == 403:
                real.until(lambda obj=obj: real.apply(obj).code in (200, 201), "the service account is there")
                continue
            assert answer.code in (200, 201), f"{path.name}: {answer.content!r}"
            assert "warning" not in answer.headers, f"{path.name}: {answer.headers['warning']}"

    def all_run() -> bool:
        found = pods()
        return len(found) >= 16 and all(
            one["status"]["phase"] == "Running"
            for one in found
            if not one["metadata"]["name"].startswith("too-much")
        )

    def pods() -> list[dict]:
        return [one for space in SPACES for one in real.items(f"/api/v1/namespaces/{space}/pods")]

    real.until(all_run, "all examples but too-much run", 120)
    waiting = [one for one in pods() if one["metadata"]["name"].startswith("too-much")]
    assert len(waiting) == 3
    assert all(gated(one) and not node_of(one) for one in waiting)

    def told() -> bool:
        return all(
            any(
                condition["type"] == "aliquot.dev/Placed" for condition in one["status"].get("conditions", ())
            )
            for one in pods()
            if one["metadata"]["name"].startswith("too-much")
        )

    real.until(told, "the pods of too-much say why they wait")
    witness = history.judged()
    assert witness.broken == []
    assert witness.allocations >= 10


def test_what_was_written_is_stored_whole(real: Cluster, controller: Controller) -> None:
    allocated = [
        claim
        for claim in real.items("/apis/resource.k8s.io/v1/resourceclaims")
        if claim.get("status", {}).get("allocation")
    ]
    assert allocated
    for claim in allocated:
        name = claim["metadata"]["name"]
        assert "resource.kubernetes.io/delete-protection" in claim["metadata"]["finalizers"], name
        assert claim["status"]["allocation"].get("allocationTimestamp"), name
        assert claim["status"]["reservedFor"], name


def test_queues_have_their_status(real: Cluster, controller: Controller) -> None:
    path = "/apis/aliquot.dev/v1alpha1/queues/research"

    def used() -> int:
        found = real.get(path).get("status", {}).get("used", ())
        return sum(int(one["quantity"]) for one in found if one["name"] == "gpu")

    real.until(lambda: used() > 0, "the queue says what it holds")


def test_decisions_are_told_as_events(real: Cluster, controller: Controller) -> None:
    def told() -> bool:
        found = real.items("/apis/events.k8s.io/v1/namespaces/research/events")
        return any("aliquot" in one.get("reportingController", "") for one in found)

    real.until(told, "there are events of Aliquot's")
