"""Accounts and choices of devices against what KAI-Scheduler was seen to do (../shared/vectors/kai)."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fractions.objects import asking, node, pod

from aliquot.fractions.charges import device_charge, pending_charge, smallest_memory
from aliquot.fractions.devices import NodeDevices, node_devices
from aliquot.fractions.groups import places
from aliquot.fractions.ledger import PACK, SPREAD, DeviceLedger, Shift
from aliquot.fractions.refusals import KAI_RULES, refusal
from aliquot.fractions.requests import WHOLE, GpuRequest, RequestProblem, gpu_request
from aliquot.model.core import Pod

HELD = {"Running", "Bound", "Allocated", "Binding", "Releasing", "Pipelined"}
Task = dict[str, Any]


def scenarios(shared: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((shared / "vectors" / "kai").glob("*/*.json")):
        if path.parent.name != "functions":
            yield json.loads(path.read_text())


def tasks_of(scenario: dict[str, Any]) -> Iterator[Task]:
    for job in scenario["jobs"]:
        yield from job["tasks"]


def pod_of(task: Task, groups: list[str] | None = None) -> Pod:
    """The pod that a task of a scenario stands for."""
    request = task["request"]
    annotations: dict[str, str] = {}
    resources: dict[str, int] = {}
    if request["type"] == "fraction":
        annotations["gpu-fraction"] = str(request["gpu_fraction"])
    elif request["type"] == "gpu_memory":
        annotations["gpu-memory"] = str(request["gpu_memory_mib"])
    elif task.get("legacy_mig"):
        annotations["nvidia.com/mig-1g.5gb"] = "0"
    elif request["type"] == "mig":
        resources |= request["mig"]
    elif request["type"] == "whole":
        resources["nvidia.com/gpu"] = int(request["gpus"])
    if request.get("gpu_devices", 1) > 1:
        annotations["gpu-fraction-num-devices"] = str(request["gpu_devices"])
    labels = {"runai-gpu-group": groups[0]} if groups else {}
    labels |= {f"runai-gpu-group/{name}": name for name in (groups or [])[1:]}
    return pod(asking(resources), annotations=annotations, labels=labels)


def request_of(task: Task) -> GpuRequest | None:
    found = gpu_request(pod_of(task))
    assert not isinstance(found, RequestProblem)
    return found


def devices_of(scenario: dict[str, Any]) -> dict[str, NodeDevices]:
    found = {}
    for item in scenario["nodes"]:
        allocatable = dict(item["mig_instances"])
        if item["gpus"]:
            allocatable["nvidia.com/gpu"] = int(item["gpus"])
        found[item["name"]] = node_devices(node(allocatable, item["labels"]))
    return found


def outcome(scenario: dict[str, Any]) -> dict[str, Any]:
    observed = scenario["observed"]
    return observed["after" if "after" in observed else "after_last_round"]


def test_requests_count_for_the_queue_what_the_reference_counts(shared: Path) -> None:
    checked = 0
    for scenario in scenarios(shared):
        for task in tasks_of(scenario):
            request = request_of(task)
            if task["request"]["type"] == "dra":
                assert request is None
                continue
            charge = 0 if request is None else device_charge(request, slices_as_devices=True)
            assert charge == round(task["request"]["gpu_quota"] * 100) * WHOLE // 100, task["name"]
            checked += request is not None
    assert checked > 1000


def test_granted_parts_count_for_the_queue_what_the_reference_counts(shared: Path) -> None:
    checked = 0
    for scenario in scenarios(shared):
        devices = devices_of(scenario)
        tasks = {task["name"]: task for task in tasks_of(scenario)}
        for name, seen in outcome(scenario)["tasks"].items():
            request = request_of(tasks[name])
            if seen["status"] not in HELD or not seen.get("gpus_accepted") or request is None:
                continue
            charge = device_charge(request, devices[seen["node"]], slices_as_devices=True)
            granted = round(seen["gpus_accepted"] * 100) * WHOLE // 100
            # 100 * 55 / 100 is 55, but a little more in floating point, which the reference rounds up to 56.
            rounded_up = tasks[name]["request"].get("gpu_memory_mib") == 55
            assert charge == granted - rounded_up * WHOLE // 100, (scenario["id"], name)
            checked += request.shared
    assert checked > 100


def test_waiting_memory_counts_as_its_part_of_the_smallest_device(shared: Path) -> None:
    checked = 0
    for scenario in scenarios(shared):
        queues = scenario["fair_share"]["queues"]
        smallest = smallest_memory(devices_of(scenario).values())
        for queue in {job["queue"] for job in scenario["jobs"]}:
            tasks = [task for job in scenario["jobs"] if job["queue"] == queue for task in job["tasks"]]
            if not any(task["request"]["type"] == "gpu_memory" for task in tasks):
                continue
            if any(task["status"] not in ("Pending", "Running") for task in tasks):
                continue
            requests = [request for task in tasks if (request := request_of(task))]
            wanted = sum(pending_charge(request, smallest, slices_as_devices=True) for request in requests)
            assert wanted == round(queues[queue]["gpu"]["requested"] * 100) * WHOLE // 100, scenario["id"]
            checked += 1
    assert checked >= 15


def counted(
    scenario: dict[str, Any], seen: dict[str, Any], devices: dict[str, NodeDevices]
) -> dict[str, tuple[int, int]]:
    """Whole idle devices of every node, now and later, by ledger and by counting whole pods."""
    names = sorted(devices)
    ledger = DeviceLedger([devices[name] for name in names])
    idle = {name: [devices[name].count, devices[name].count] for name in names}
    tasks = {task["name"]: task for task in tasks_of(scenario)}
    entries = []
    for name, found in seen["tasks"].items():
        task = tasks[name]
        if found["status"] == "Pipelined" and task["status"] in HELD - {"Pipelined"}:
            entries.append((name, task["node"], task.get("gpu_groups"), "Releasing"))
        if found["status"] in HELD:
            entries.append((name, found["node"], found.get("gpu_groups"), found["status"]))
    for name, at, groups, status in entries:
        request = request_of(tasks[name])
        if request is None or request.mig:
            continue
        number = names.index(at)
        promised, leaving = status == "Pipelined", status == "Releasing"
        taken = places(pod_of(tasks[name], groups), request, devices[at])
        shift = Shift(0 if promised else -request.devices, 0 if leaving else -request.devices)
        if taken and promised:
            shift = ledger.promise(number, ("", name), taken)
        elif taken:
            shift = ledger.occupy(number, ("", name), taken, leaving=leaving)
        idle[at][0] += shift.now
        idle[at][1] += shift.later
    return {name: (now, later - now) for name, (now, later) in idle.items()}


def test_idle_and_releasing_devices_are_those_of_the_reference(shared: Path) -> None:
    checked = 0
    wrong = []
    for scenario in scenarios(shared):
        if scenario.get("dra"):
            continue
        devices = devices_of(scenario)
        seen = outcome(scenario)
        for name, found in counted(scenario, seen, devices).items():
            there = seen["nodes"][name]
            if found != (there["idle_gpus"], there["releasing_gpus"]):
                wrong.append((scenario["id"], name, found, there))
            checked += 1
    assert not wrong
    assert checked > 400


def test_node_rules_about_mig_and_parts_are_those_of_the_reference(shared: Path) -> None:
    """No task was seen placed where it is refused, and legacy MIG tasks were placed nowhere."""
    checked = 0
    for scenario in scenarios(shared):
        devices = devices_of(scenario)
        tasks = {task["name"]: task for task in tasks_of(scenario)}
        legacy = {
            task["node"] for task in tasks.values() if task.get("legacy_mig") and task["status"] == "Running"
        }
        for name, seen in outcome(scenario)["tasks"].items():
            request = request_of(tasks[name])
            if request is None or tasks[name]["status"] != "Pending":
                continue
            grounds = {
                item: refusal(request, devices[item], KAI_RULES, legacy_mig=item in legacy)
                for item in devices
            }
            if seen["status"] in ("Binding", "Pipelined", "Running"):
                assert grounds[seen["node"]] is None, (scenario["id"], name)
            checked += 1
    assert checked > 300


def order_of(scenario: dict[str, Any]) -> str:
    plugins = scenario["run"]["plugins"] or ()
    return SPREAD if any(item["name"] == "gpuspread" for item in plugins) else PACK


def scarce_memory(scenario: dict[str, Any]) -> bool:
    wanted = sum(task["request"]["memory_bytes"] for task in tasks_of(scenario))
    return any(item["memory_bytes"] < wanted for item in scenario["nodes"])


def taken_names(ledger: DeviceLedger, number: int, name: str) -> tuple[str, ...]:
    holding = ledger.held(number, ("", name))
    return holding.groups if holding is not None else ()


def replayed(scenario: dict[str, Any], order: tuple[str, ...], seen: dict[str, Any]) -> bool:
    """Whether the ledger, deciding one task after the other, gives all the same neighbours and promises.

    What making room finds is promised even if the device is free already, and so is what has to wait for
    memory of the node.
    """
    may_wait = scenario["run"]["actions"] != ["allocate"] or scarce_memory(scenario)
    devices = devices_of(scenario)
    names = sorted(devices)
    ledger = DeviceLedger([devices[name] for name in names])
    idle = [[devices[name].count] * 2 for name in names]
    alias: dict[tuple[int, str], str] = {}
    tasks = {task["name"]: task for task in tasks_of(scenario)}
    new = set(order)
    for name, task in tasks.items():
        request, found = request_of(task), seen["tasks"][name]
        if task["node"] is None or task["status"] not in HELD or request is None or request.mig:
            continue
        number = names.index(task["node"])
        promised = task["status"] == "Pipelined"
        leaving = not promised and (found["status"] == "Releasing" or name in new)
        taken = places(pod_of(task, task.get("gpu_groups")), request, devices[task["node"]])
        shift = Shift(0 if promised else -request.devices, 0 if leaving else -request.devices)
        if taken and promised:
            shift = ledger.promise(number, ("", name), taken)
            alias |= {(number, group): group for group, _ in taken}
        elif taken:
            shift = ledger.occupy(number, ("", name), taken, leaving=leaving)
            stays = found["status"] != "Pipelined"
            groups = found.get("gpu_groups", ()) if stays else task.get("gpu_groups") or ()
            alias |= {(number, group): made for group, made in zip(groups, taken_names(ledger, number, name))}
        idle[number][0] += shift.now
        idle[number][1] += shift.later
    for name in order:
        request, found = request_of(tasks[name]), seen["tasks"][name]
        assert request is not None
        number, promised = names.index(found["node"]), found["status"] == "Pipelined"
        if not request.shared:
            if idle[number][1] < request.devices or (not promised and min(idle[number]) < request.devices):
                return False
            idle[number][0] -= 0 if promised else request.devices
            idle[number][1] -= request.devices
            continue
        choice = ledger.options(number, request, *idle[number], later=True, order=order_of(scenario))
        if choice is None or (choice.now == promised and not (promised and may_wait)):
            return False
        groups = found["gpu_groups"]
        known = [alias[(number, group)] for group in groups if (number, group) in alias]
        if sorted(known) != sorted(choice.joined):
            return False
        holding, shift = ledger.take(number, choice, ("", name), promised=promised)
        opened = [group for group in groups if (number, group) not in alias]
        alias |= {(number, group): made for group, made in zip(opened, holding.groups[len(known) :])}
        idle[number][0] += shift.now
        idle[number][1] += shift.later
    return True


def test_devices_are_chosen_as_the_reference_chose_them(shared: Path) -> None:
    """In some order of the tasks that were newly placed, every choice comes out as it was seen."""
    checked, wrong = 0, []
    for scenario in scenarios(shared):
        if scenario["run"]["mode"] != "single_pass" or scenario.get("dra"):
            continue
        seen = scenario["observed"]["after"]
        tasks = {task["name"]: task for task in tasks_of(scenario)}
        new = [
            name
            for name, found in seen["tasks"].items()
            if (request := request_of(tasks[name])) is not None
            and not request.mig
            and (found["status"] in ("Binding", "Pipelined") and (found["status"] != tasks[name]["status"]))
        ]
        if len(new) > 6 or not any((item := request_of(tasks[name])) and item.shared for name in new):
            continue
        checked += 1
        if not any(replayed(scenario, order, seen) for order in itertools.permutations(new)):
            wrong.append(scenario["id"])
    assert not wrong
    assert checked > 30
