"""Gangs start together or not at all, whatever the stock scheduler does meanwhile."""

from tests.real.cluster import Cluster, Controller, gated, job, node_of, pod
from tests.real.history import History


def members(real: Cluster, space: str, gang: str) -> list[dict]:
    return real.items(f"/api/v1/namespaces/{space}/pods", f"labelSelector=gang%3D{gang}")


def test_a_gang_that_fits_starts_whole(real: Cluster, history: History, controller: Controller) -> None:
    space = real.namespace("real-gang")
    template = real.template(space, 4)
    real.create(f"/apis/batch/v1/namespaces/{space}/jobs", job("fits", space, 4, template))
    real.until(
        lambda: len([one for one in members(real, space, "fits") if node_of(one)]) == 4, "the gang is bound"
    )
    real.api.request(
        "DELETE", f"/apis/batch/v1/namespaces/{space}/jobs/fits", query="propagationPolicy=Background"
    )
    real.until(lambda: not members(real, space, "fits"), "the gang is gone")
    assert history.judged().broken == []


def test_a_gang_that_does_not_fit_has_no_member_let_go(
    real: Cluster, history: History, controller: Controller
) -> None:
    space = real.namespace("real-gang-big")
    template = real.template(space, 8)
    jobs = f"/apis/batch/v1/namespaces/{space}/jobs"
    real.create(jobs, job("big", space, 9, template))
    real.until(lambda: len(members(real, space, "big")) == 9, "all nine pods exist")

    def told() -> bool:
        return all(
            any(
                condition["type"] == "aliquot.dev/Placed" for condition in one["status"].get("conditions", ())
            )
            for one in members(real, space, "big")
        )

    real.until(told, "each pod says why it waits")
    assert all(gated(one) for one in members(real, space, "big"))
    claims = real.items(f"/apis/resource.k8s.io/v1/namespaces/{space}/resourceclaims")
    assert [one["metadata"]["name"] for one in claims if one.get("status", {}).get("allocation")] == []
    real.api.request("DELETE", f"{jobs}/big", query="propagationPolicy=Background")
    real.until(lambda: not members(real, space, "big"), "the gang is gone")
    assert history.judged().broken == []


def test_a_pod_that_no_node_has_cpu_for_waits_and_binds_once_there_is_some(
    real: Cluster, history: History, controller: Controller
) -> None:
    """The CPU is taken by pods that Aliquot has nothing to do with, which the stock scheduler places."""
    space = real.namespace("real-short")
    template = real.template(space, 8)
    nodes = {
        one["metadata"]["name"]: int(one["status"]["allocatable"]["cpu"])
        for one in real.items("/api/v1/nodes")
    }
    pods = f"/api/v1/namespaces/{space}/pods"
    other = real.namespace("real-fillers", managed=False)
    real.create(pods, pod("wants", space, [template], cpu=str(min(nodes.values()) - 30)))
    for name in nodes:
        selector = {"kubernetes.io/hostname": name}
        filler = pod(f"filler-{name}", other, [], cpu="40", nodeSelector=selector)
        real.create(f"/api/v1/namespaces/{other}/pods", filler)

    def settled() -> bool:
        fillers = real.items(f"/api/v1/namespaces/{other}/pods")
        return bool(node_of(real.get(f"{pods}/wants"))) or all(node_of(one) for one in fillers)

    real.until(settled, "the pod or all fillers are bound")
    for name in nodes:
        real.api.request("DELETE", f"/api/v1/namespaces/{other}/pods/filler-{name}")
    real.until(lambda: bool(node_of(real.get(f"{pods}/wants"))), "the pod is bound", 120)
    real.api.request("DELETE", f"{pods}/wants")
    assert history.judged().broken == []
