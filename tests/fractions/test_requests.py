"""What pods ask for: whole devices, parts, memory, MIG instances; in whose words; and what cannot be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fractions.objects import asking, pod

from aliquot.fractions.requests import (
    WHOLE,
    Author,
    GpuRequest,
    Kind,
    RequestProblem,
    beside_shared,
    gpu_request,
    part_of_device,
)

GPU = "nvidia.com/gpu"


@pytest.mark.parametrize(
    ("annotations", "request_"),
    [
        ({"gpu-fraction": "0.5"}, GpuRequest(Kind.PART, 1, part=WHOLE // 2, author=Author.KAI)),
        ({"gpu-fraction": "1"}, GpuRequest(Kind.PART, 1, part=WHOLE, author=Author.KAI)),
        ({"gpu-fraction": ".25"}, GpuRequest(Kind.PART, 1, part=WHOLE // 4, author=Author.KAI)),
        ({"gpu-fraction": "0.3333333333"}, GpuRequest(Kind.PART, 1, part=333_333_334, author=Author.KAI)),
        (
            {"gpu-fraction": "0.5", "gpu-fraction-num-devices": "2"},
            GpuRequest(Kind.PART, 2, part=WHOLE // 2, author=Author.KAI),
        ),
        (
            {"aliquot.dev/gpu-fraction": "0.2"},
            GpuRequest(Kind.PART, 1, part=WHOLE // 5, author=Author.ALIQUOT),
        ),
        (
            {"aliquot.dev/gpu-fraction": "0.2", "gpu-fraction": "0.2"},
            GpuRequest(Kind.PART, 1, part=WHOLE // 5, author=Author.ALIQUOT),
        ),
        ({"gpu-memory": "4096"}, GpuRequest(Kind.MEMORY, 1, memory_mib=4096, author=Author.KAI)),
        (
            {"aliquot.dev/gpu-memory": "4Gi", "aliquot.dev/gpu-fraction-num-devices": "2"},
            GpuRequest(Kind.MEMORY, 2, memory_mib=4096, author=Author.ALIQUOT),
        ),
        ({"aliquot.dev/gpu-memory": "1G"}, GpuRequest(Kind.MEMORY, 1, memory_mib=954, author=Author.ALIQUOT)),
        (
            {"nvidia.com/mig-1g.5gb": "2"},
            GpuRequest(Kind.LEGACY_MIG, profiles=(("nvidia.com/mig-1g.5gb", 2),), author=Author.KAI),
        ),
        ({"gpu-fraction": "", "gpu-memory": ""}, None),
        ({"team": "x"}, None),
    ],
)
def test_annotations_ask_for_parts_and_memory(
    annotations: dict[str, str], request_: GpuRequest | None
) -> None:
    assert gpu_request(pod(asking({"cpu": 1}), annotations=annotations)) == request_


@pytest.mark.parametrize(
    ("annotations", "place", "reason"),
    [
        ({"gpu-fraction": "0"}, "gpu-fraction", "no part"),
        ({"gpu-fraction": "1.01"}, "gpu-fraction", "no part"),
        ({"gpu-fraction": "-0.5"}, "gpu-fraction", "no part"),
        ({"gpu-fraction": "half"}, "gpu-fraction", "no part"),
        ({"gpu-fraction": "5e-1"}, "gpu-fraction", "no part"),
        ({"gpu-fraction": "."}, "gpu-fraction", "no part"),
        ({"gpu-fraction": "٠.٥"}, "gpu-fraction", "no part"),
        ({"gpu-fraction": "0." + "3" * 1000}, "gpu-fraction", "no part"),
        ({"gpu-memory": "4Gi"}, "gpu-memory", "no amount of memory"),
        ({"gpu-memory": "0"}, "gpu-memory", "no amount of memory"),
        ({"gpu-memory": "9" * 30}, "gpu-memory", "no amount of memory"),
        ({"aliquot.dev/gpu-memory": "-1Gi"}, "aliquot.dev/gpu-memory", "no amount of memory"),
        ({"aliquot.dev/gpu-memory": "Gi"}, "aliquot.dev/gpu-memory", "no amount of memory"),
        ({"gpu-fraction": "0.5", "gpu-memory": "100"}, "gpu-memory", "stands beside gpu-fraction"),
        (
            {"gpu-fraction": "0.5", "gpu-fraction-num-devices": "0"},
            "gpu-fraction-num-devices",
            "no number of devices",
        ),
        (
            {"gpu-fraction": "0.5", "gpu-fraction-num-devices": "two"},
            "gpu-fraction-num-devices",
            "no number of devices",
        ),
        ({"gpu-fraction-num-devices": "2"}, "gpu-fraction-num-devices", "not what of each"),
        (
            {"gpu-fraction": "0.5", "aliquot.dev/gpu-fraction": "0.6"},
            "aliquot.dev/gpu-fraction",
            "differs from gpu-fraction",
        ),
        ({"nvidia.com/mig-1g.5gb": "many"}, "nvidia.com/mig-1g.5gb", "no number of MIG instances"),
    ],
)
def test_what_cannot_be_read_is_a_problem_with_place_and_fix(
    annotations: dict[str, str], place: str, reason: str
) -> None:
    found = gpu_request(pod(asking({}), annotations=annotations))
    assert isinstance(found, RequestProblem)
    assert (found.place, found.fix != "") == (place, True)
    assert reason in found.reason
    assert len(str(found)) < 300


@pytest.mark.parametrize(
    ("resources", "request_"),
    [
        ({GPU: 2}, GpuRequest(Kind.WHOLE, 2, resource=GPU)),
        ({"amd.com/gpu": 1}, GpuRequest(Kind.WHOLE, 1, resource="amd.com/gpu")),
        ({GPU: 0}, None),
        ({"cpu": 4, "example.com/fpga": 1}, None),
        (
            {"nvidia.com/mig-1g.10gb": 2, "nvidia.com/mig-3g.40gb": 1},
            GpuRequest(Kind.MIG, profiles=(("nvidia.com/mig-1g.10gb", 2), ("nvidia.com/mig-3g.40gb", 1))),
        ),
        (
            {GPU: 2, "nvidia.com/gpumem": 3000, "nvidia.com/gpucores": 30},
            GpuRequest(Kind.MEMORY, 2, memory_mib=3000, cores=30, resource=GPU, author=Author.HAMI),
        ),
        (
            {GPU: 1, "nvidia.com/gpumem-percentage": 50},
            GpuRequest(Kind.PART, 1, part=WHOLE // 2, resource=GPU, author=Author.HAMI),
        ),
        (
            {GPU: 1, "nvidia.com/gpumem": 3000, "nvidia.com/gpumem-percentage": 50},
            GpuRequest(Kind.MEMORY, 1, memory_mib=3000, resource=GPU, author=Author.HAMI),
        ),
        (
            {"nvidia.com/gpumem": 3000},
            GpuRequest(Kind.MEMORY, 1, memory_mib=3000, resource=GPU, author=Author.HAMI),
        ),
        (
            {GPU: 1, "nvidia.com/gpucores": 30},
            GpuRequest(Kind.PART, 1, part=WHOLE, cores=30, resource=GPU, author=Author.HAMI),
        ),
    ],
)
def test_extended_resources_ask_for_whole_devices_mig_instances_and_parts_in_hamis_words(
    resources: dict[str, int], request_: GpuRequest | None
) -> None:
    assert gpu_request(pod(asking(resources))) == request_


@pytest.mark.parametrize(
    ("resources", "place"),
    [
        ({GPU: 1, "nvidia.com/gpumem-percentage": 101}, "spec.containers[main] nvidia.com/gpumem-percentage"),
        ({GPU: 1, "nvidia.com/gpucores": 200}, "spec.containers[main] nvidia.com/gpucores"),
        ({"nvidia.com/mig-huge": 1}, "nvidia.com/mig-huge"),
    ],
)
def test_extended_resources_out_of_range_are_a_problem(resources: dict[str, int], place: str) -> None:
    found = gpu_request(pod(asking(resources)))
    assert isinstance(found, RequestProblem)
    assert found.place == place


def test_parts_in_hamis_words_take_nothing_else_of_the_node_than_other_pods_do() -> None:
    amounts = {"cpu": 1000, GPU: 2, "nvidia.com/gpumem": 3000, "pods": 1}
    shared = gpu_request(pod(asking({GPU: 2, "nvidia.com/gpumem": 3000})))
    assert isinstance(shared, GpuRequest)
    assert beside_shared(amounts, shared) == {"cpu": 1000, "pods": 1}
    whole = gpu_request(pod(asking({GPU: 2})))
    assert isinstance(whole, GpuRequest)
    assert beside_shared({"cpu": 1000, GPU: 2}, whole) == {"cpu": 1000, GPU: 2}


def test_a_part_by_annotation_beside_a_whole_device_is_a_problem() -> None:
    found = gpu_request(pod(asking({GPU: 1}), annotations={"gpu-fraction": "0.5"}))
    assert isinstance(found, RequestProblem)
    assert found.place == GPU


def test_containers_add_up_and_the_largest_init_container_counts_if_it_is_more() -> None:
    several = pod(
        asking({GPU: 1}),
        asking({GPU: 1}, "second"),
        init=(asking({GPU: 1}, "proxy", "Always"), asking({GPU: 2}, "first")),
    )
    assert gpu_request(several) == GpuRequest(Kind.WHOLE, 3, resource=GPU)
    large = pod(asking({GPU: 1}), init=(asking({GPU: 4}, "first"),))
    assert gpu_request(large) == GpuRequest(Kind.WHOLE, 4, resource=GPU)


def test_containers_that_ask_for_different_parts_are_a_problem() -> None:
    same = {GPU: 1, "nvidia.com/gpumem": 1000}
    both = gpu_request(pod(asking(same), asking(same, "second")))
    assert both == GpuRequest(Kind.MEMORY, 2, memory_mib=1000, resource=GPU, author=Author.HAMI)
    found = gpu_request(pod(asking(same), asking({**same, "nvidia.com/gpumem": 2000}, "second")))
    assert isinstance(found, RequestProblem)
    assert found.reason == "are asked for by the containers of one pod"


@given(st.text(max_size=40) | st.from_regex(r"\A[0-9]*\.?[0-9]*\Z"))
def test_any_text_is_a_part_above_nothing_and_up_to_a_whole_or_none_at_all(text: str) -> None:
    part = part_of_device(text)
    if part is None:
        return
    assert 0 < part <= WHOLE
    assert abs(part / WHOLE - float(text)) <= 1.1 / WHOLE


@given(
    st.dictionaries(
        st.sampled_from(
            (
                "gpu-fraction",
                "gpu-memory",
                "gpu-fraction-num-devices",
                "aliquot.dev/gpu-fraction",
                "nvidia.com/mig-x",
            )
        ),
        st.text(max_size=40),
    )
)
def test_any_annotation_is_a_request_or_a_problem_and_never_an_error(annotations: dict[str, str]) -> None:
    found = gpu_request(pod(asking({}), annotations=annotations))
    assert found is None or isinstance(found, GpuRequest | RequestProblem)
