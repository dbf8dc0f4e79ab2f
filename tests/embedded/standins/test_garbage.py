from typing import Any

import pytest
from world import World

from aliquot.embedded.hooks import Object


def config(world: World, name: str, *owners: Object, block: bool = False, **metadata: Any) -> Object:
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for owner in owners
    ]
    return world.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "ownerReferences": references} | metadata,
        }
    )


def test_dependents_of_a_deleted_owner_go_all_the_way_down(world: World) -> None:
    root = config(world, "root")
    middle = config(world, "middle", root)
    config(world, "leaf", middle)
    config(world, "other")
    world.settle()
    world.delete("configmaps", "root")
    world.settle()
    assert world.names("configmaps") == ["other"]


def test_an_object_made_for_an_owner_that_does_not_exist_is_removed(world: World) -> None:
    ghost: Object = {"metadata": {"name": "ghost", "uid": "6f1c2a0e-0000-4000-8000-000000000000"}}
    config(world, "late", ghost)
    world.settle()
    assert world.names("configmaps") == []


def test_a_new_owner_of_the_same_name_does_not_count(world: World) -> None:
    old = config(world, "root")
    world.delete("configmaps", "root")
    config(world, "root")
    config(world, "child", old)
    world.settle()
    assert world.names("configmaps") == ["root"]


def test_a_dependent_with_another_owner_left_loses_only_the_reference(world: World) -> None:
    first, second = config(world, "first"), config(world, "second")
    config(world, "child", first, second)
    world.settle()
    world.delete("configmaps", "first")
    world.settle()
    references = world.get("configmaps", "child")["metadata"]["ownerReferences"]
    assert [one["name"] for one in references] == ["second"]


def test_orphaning_keeps_the_dependents_without_their_owner(world: World) -> None:
    root = config(world, "root")
    config(world, "child", root)
    world.settle()
    world.delete("configmaps", "root", propagation="Orphan")
    world.settle()
    assert world.names("configmaps") == ["child"]
    assert not world.get("configmaps", "child")["metadata"].get("ownerReferences")


@pytest.mark.parametrize("block", [True, False])
def test_foreground_deletion_waits_for_the_dependents_that_block_it(world: World, block: bool) -> None:
    root = config(world, "root")
    config(world, "child", root, block=block, finalizers=["example.com/hold"])
    world.settle()
    world.delete("configmaps", "root", propagation="Foreground")
    world.settle()
    assert ("root" in world.names("configmaps")) is block
    world.edit("configmaps", "child", lambda obj: obj["metadata"].update(finalizers=[]))
    world.settle()
    assert world.names("configmaps") == []


def test_foreground_deletion_goes_down_before_it_goes_up(world: World) -> None:
    root = config(world, "root")
    middle = config(world, "middle", root, block=True)
    config(world, "leaf", middle, block=True, finalizers=["example.com/hold"])
    world.settle()
    world.delete("configmaps", "root", propagation="Foreground")
    world.settle()
    assert sorted(world.names("configmaps")) == ["leaf", "middle", "root"]
    world.edit("configmaps", "leaf", lambda obj: obj["metadata"].update(finalizers=[]))
    world.settle()
    assert world.names("configmaps") == []


def test_an_owner_of_a_kind_that_is_not_served_is_taken_to_exist(world: World) -> None:
    owner = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": "ray", "uid": "1"}
    world.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "ownerReferences": [owner]}}
    )
    world.settle()
    assert world.names("configmaps") == ["kept"]


def test_collection_goes_on_after_a_restart(lasting: World) -> None:
    root = config(lasting, "root")
    config(lasting, "child", root)
    lasting.delete("configmaps", "root")
    lasting.restart()
    lasting.settle()
    assert lasting.names("configmaps") == []


def test_an_object_that_loses_an_owner_keeps_everything_else(world: World) -> None:
    first, second = config(world, "first"), config(world, "second")
    config(world, "child", first, second, labels={"a": "b"})
    world.edit("configmaps", "child", lambda obj: obj.update(data={"x": "y"}))
    world.settle()
    world.delete("configmaps", "first", propagation="Orphan")
    world.settle()
    child = world.get("configmaps", "child")
    assert (child["data"], child["metadata"]["labels"]) == ({"x": "y"}, {"a": "b"})
    assert [one["name"] for one in child["metadata"]["ownerReferences"]] == ["second"]
