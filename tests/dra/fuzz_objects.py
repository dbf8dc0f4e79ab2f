"""Random slices, classes, claims and taint rules, sound ones and such as no API server would let in."""

import copy
from random import Random
from typing import Any

Json = dict[str, Any]

NAMES = ["a", "b", "gpu", "x", "n-1", "n-2", ""]
DRIVERS = ["d.example.com", "e.example.com"]
SELECTORS = [
    "true",
    "false",
    "device.driver == 'd.example.com'",
    "device.attributes['d.example.com'].?a.orValue(0) == 1",
    "device.capacity['d.example.com'].?m.orValue(quantity('3')).isGreaterThan(quantity('1'))",
    "device.attributes['d.example.com'].all(k, k != 'a')",
    "device.allowMultipleAllocations",
]
FAILING = [
    "device.attributes['d.example.com'].a == 1",
    "device.attributes['d.example.com'].v.isLessThan(semver('2.0.0'))",
]
BROKEN = ["device.nonsense", "1 +", "", "1"]
AMOUNTS = ["0", "1", "2", "3", "1Gi", "500m", "-1", "1e18", "9223372036854775807", "1e30", "0.000000001"]
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    2**70,
    1.5,
    float("inf"),
    "",
    "\u0000",
    "é" * 300,
    "x" * 5000,
    [],
    {},
    [[]],
    {"": None},
    "NaN",
    "1" * 400,
    "1e999999999",
]


def places(random: Random) -> Json:
    kind = random.randrange(20)
    if kind < 13:
        return {"nodeName": random.choice(["n-1"] * 6 + ["n-2"])}
    if kind < 16:
        return {"allNodes": True}
    if kind < 19:
        requirement: Json = {"key": random.choice(["zone", "", "metadata.name"])}
        requirement["operator"] = random.choice(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Near"])
        requirement["values"] = random.sample(["a", "1", "n-1"], random.randrange(3))
        field = random.choice(["matchExpressions", "matchExpressions", "matchFields"])
        return {"nodeSelector": {"nodeSelectorTerms": [{field: [requirement]}] * random.randrange(3)}}
    return {}


def attribute(random: Random) -> Json:
    kind = random.choice(["int", "string", "bool", "version", "ints", "strings", "versions", ""])
    values: dict[str, Any] = {
        "int": random.randrange(3),
        "string": random.choice(NAMES),
        "bool": random.random() < 0.5,
        "version": random.choice(["1.0.0", "1.2.3-rc.1", "1", "01.0.0"]),
    }
    if kind.endswith("s"):
        return {kind: [values[kind[:-1]] for _ in range(random.randrange(3))]}
    return {kind: values[kind]} if kind else {}


def capacity(random: Random) -> Json:
    found: Json = {"value": random.choice(AMOUNTS)}
    if random.random() < 0.5:
        policy: Json = {"default": random.choice(AMOUNTS)}
        if random.random() < 0.4:
            policy["validValues"] = [random.choice(AMOUNTS) for _ in range(random.randrange(3))]
        elif random.random() < 0.5:
            policy["validRange"] = {
                key: random.choice(AMOUNTS) for key in ("min", "max", "step") if random.random() < 0.7
            }
        found["requestPolicy"] = policy
    return found


def device(random: Random, number: int, *, placed: bool) -> Json:
    found: Json = {"name": f"gpu-{number}" if random.random() < 0.95 else random.choice(NAMES)}
    if random.random() < 0.8:
        names = random.sample(["a", "v", "d.example.com/a", "k"], random.randrange(4))
        found["attributes"] = {name: attribute(random) for name in names}
    if random.random() < 0.5:
        found["capacity"] = {
            name: capacity(random) for name in random.sample(["m", "n"], random.randrange(3))
        }
    if random.random() < 0.15:
        found["consumesCounters"] = [
            {
                "counterSet": random.choice(["s"] * 9 + ["t"]),
                "counters": {random.choice(["m", "m", "n"]): {"value": random.choice(AMOUNTS[:3])}},
            }
            for _ in range(random.randrange(3))
        ]
    if random.random() < 0.15:
        found["taints"] = [taint(random)]
    if random.random() < 0.3:
        found["allowMultipleAllocations"] = random.random() < 0.8
    if random.random() < 0.1:
        found |= {"bindsToNode": True, "bindingConditions": ["ready"]}
    return {**found, **places(random)} if placed else found


def taint(random: Random) -> Json:
    effect = random.choice(["NoSchedule", "NoExecute", "None", "Odd"])
    return {"key": random.choice(NAMES), "value": random.choice(NAMES), "effect": effect}


def slices(random: Random) -> list[Json]:
    found = []
    for number in range(random.randrange(1, 5)):
        spec: Json = {
            "driver": random.choice(DRIVERS),
            "pool": {
                "name": random.choice(["n-1", "n-2", "p", f"q-{number}"]),
                "generation": random.choices([1, 2], weights=[9, 1])[0],
                "resourceSliceCount": random.choice([1, 1, 1, 2]),
            },
        }
        placed = random.random() < 0.2
        spec |= {"perDeviceNodeSelection": True} if placed else places(random)
        if random.random() < 0.9:
            most = random.choice([3, 8, 20])
            spec["devices"] = [device(random, each, placed=placed) for each in range(random.randrange(most))]
        drawn = any(each.get("consumesCounters") for each in spec.get("devices", ()))
        if random.random() < (0.95 if drawn else 0.1):
            spec["sharedCounters"] = [
                {"name": name, "counters": {"m": {"value": random.choice(AMOUNTS[:5])}, "n": {"value": "2"}}}
                for name in random.choice([["s", "t"]] * 5 + [["s"]])
            ]
        found.append({"kind": "ResourceSlice", "metadata": {"name": f"slice-{number}"}, "spec": spec})
    if random.random() < 0.9:
        for item in found:
            own = item["spec"]["pool"]
            same = [each for each in found if _pool(each) == _pool(item)]
            own["resourceSliceCount"] = sum(
                each["spec"]["pool"]["generation"] == own["generation"] for each in same
            )
    return found


def _pool(item: Json) -> tuple[str, str]:
    return item["spec"]["driver"], item["spec"]["pool"]["name"]


def selectors(random: Random) -> list[Json]:
    """Mostly none, so that something is left; a broken one would decide the outcome alone."""
    usual = [random.choice(SELECTORS) for _ in range(random.choice([0, 0, 0, 1, 2]))]
    chance = random.random()
    chosen = (
        [random.choice(BROKEN)] if chance < 0.01 else [random.choice(FAILING)] if chance < 0.06 else usual
    )
    return [{"cel": {"expression": each}} for each in chosen]


def classes(random: Random) -> list[Json]:
    return [
        {"kind": "DeviceClass", "metadata": {"name": name}, "spec": {"selectors": selectors(random)}}
        for name in ("any", "gpu")
    ]


def wanted(random: Random) -> Json:
    found: Json = {"deviceClassName": random.choices(["any", "gpu", "none"], weights=[80, 20, 1])[0]}
    found["selectors"] = selectors(random)
    # Cases have no API defaults: without a mode a request is refused, without a count it is for nothing.
    mode = random.choices(["ExactCount", "All", "Some", ""], weights=[85, 10, 1, 1])[0]
    if mode:
        found["allocationMode"] = mode
    if random.random() < 0.98:
        found["count"] = random.choices([1, 2, 3, 8, 33, 0, -1], weights=[70, 30, 10, 4, 1, 1, 1])[0]
    if random.random() < 0.15:
        found["capacity"] = {"requests": {random.choice(["m", "n"]): random.choice(AMOUNTS)}}
    if random.random() < 0.2:
        operator = random.choice(["Exists", "Equal", "Odd", ""])
        found["tolerations"] = [{**taint(random), "operator": operator}]
    return found


def claim(random: Random, number: int) -> Json:
    requests: list[Json] = []
    for each in range(random.choice([1, 1, 1, 2, 3])):
        name = f"r{each}" if random.random() < 0.95 else random.choice(NAMES)
        if random.random() < 0.25:
            first = [{"name": f"s{other}", **wanted(random)} for other in range(random.randrange(1, 4))]
            requests.append({"name": name, "firstAvailable": first})
        else:
            exactly = wanted(random)
            if random.random() < 0.15:
                exactly["adminAccess"] = random.random() < 0.8
            requests.append({"name": name, "exactly": exactly})
    constraints = [
        {
            random.choice(["matchAttribute", "matchAttribute", "distinctAttribute"]): random.choice(
                ["d.example.com/a", "d.example.com/k", "a", ""]
            ),
            "requests": random.sample(["r0", "r1", "r0/s1", "zz"], random.randrange(3)),
        }
        for _ in range(random.choice([0, 0, 1, 2]))
    ]
    config = [{"requests": ["r0"], "opaque": {"driver": "d.example.com", "parameters": {"a": [1]}}}]
    devices = {"requests": requests, "constraints": constraints, "config": config * random.randrange(2)}
    return {
        "kind": "ResourceClaim",
        "metadata": {"name": f"claim-{number}", "namespace": "default", "uid": f"uid-{number}"},
        "spec": {"devices": devices},
    }


def rules(random: Random) -> list[Json]:
    if random.random() < 0.7:
        return []
    fields = {"driver": random.choice(DRIVERS), "pool": "n-1", "device": "gpu-0"}
    selector = {key: fields[key] for key in random.sample(sorted(fields), random.randrange(3))}
    spec = {"deviceSelector": selector, "taint": taint(random)}
    return [{"kind": "DeviceTaintRule", "metadata": {"name": "rule"}, "spec": spec}]


def state(random: Random) -> Json:
    def entry(**more: Any) -> Json:
        return {
            "driver": random.choice(DRIVERS),
            "pool": random.choice(["n-1", "n-2", "p"]),
            "device": f"gpu-{random.randrange(4)}",
            **more,
        }

    return {
        "allocatedDevices": [entry() for _ in range(random.choice([0, 0, 1, 3]))],
        "allocatedSharedDeviceIDs": [entry(shareID="s") for _ in range(random.choice([0, 0, 1]))],
        "aggregatedCapacity": [
            entry(consumedCapacity={"m": random.choice(AMOUNTS)}) for _ in range(random.choice([0, 0, 1]))
        ],
    }


SWITCHES = (
    "adminAccess",
    "consumableCapacity",
    "deviceBindingAndStatus",
    "deviceTaints",
    "listTypeAttributes",
    "partitionableDevices",
    "prioritizedList",
)


def case(random: Random) -> Json:
    """A whole input of the allocator, in the format of recorded cases."""
    on = random.choice([0.5, 1.0, 1.0, 1.0, 1.0])
    return {
        "name": "fuzz",
        "features": {name: random.random() < on for name in SWITCHES},
        "node": {"kind": "Node", "metadata": {"name": "n-1", "labels": {"zone": random.choice(["a", "1"])}}},
        "claimsToAllocate": [claim(random, number) for number in range(random.choice([1, 1, 1, 2, 3]))],
        "deviceClasses": classes(random),
        "resourceSlices": slices(random),
        "allocatedState": state(random),
    }


def damaged(random: Random, document: Json) -> Json:
    """The document with a few values replaced, removed, moved or repeated."""
    found = copy.deepcopy(document)
    for _ in range(random.randrange(1, 4)):
        holder: Any = found
        for _ in range(random.randrange(12)):
            inner = [each for each in _values(holder) if isinstance(each, dict | list) and each]
            if not inner:
                break
            holder = random.choice(inner)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            continue
        key, other = random.choice(keys), random.choice(keys)
        match random.randrange(5):
            case 0:
                del holder[key]
            case 1:
                holder[key] = copy.deepcopy(holder[other])
            case 2 if isinstance(holder, list):
                holder.extend(copy.deepcopy(holder[:8]) * random.choice([1, 4]))
            case 3 if isinstance(holder, dict):
                holder[random.choice(NAMES)] = copy.deepcopy(random.choice(ODD))
            case _:
                holder[key] = copy.deepcopy(random.choice(ODD))
    return found


def _values(holder: Any) -> list[Any]:
    return list(holder.values() if isinstance(holder, dict) else holder)
