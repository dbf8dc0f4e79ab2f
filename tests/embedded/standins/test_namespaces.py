from world import CLAIMS, World, using


def make(world: World, name: str) -> None:
    world.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    world.settle()


def test_every_namespace_has_its_default_account_again_and_again(world: World) -> None:
    make(world, "team")
    for namespace in ("default", "kube-system", "team"):
        assert world.names("serviceaccounts", namespace) == ["default"]
    world.delete("serviceaccounts", "default", "team")
    world.settle()
    assert world.names("serviceaccounts", "team") == ["default"]


def test_a_deleted_namespace_takes_its_content_along(world: World) -> None:
    world.node("n1")
    make(world, "team")
    world.claim("c", "team")
    world.pod("p", namespace="team", resourceClaims=using("c"))
    world.allocate("c", "n1", "p", namespace="team")
    world.settle()
    assert world.phase("p", "team") == "Running"
    world.delete("namespaces", "team")
    world.pass_time(5)
    assert world.find("namespaces", "team") is None
    assert (world.names("pods"), world.names(CLAIMS)) == ([], [])


def test_a_namespace_stays_and_says_why_while_content_is_held(world: World) -> None:
    make(world, "team")
    held = {"name": "held", "namespace": "team", "finalizers": ["example.com/hold"]}
    world.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": held})
    world.delete("namespaces", "team")
    world.pass_time(5)
    namespace = world.get("namespaces", "team")
    assert namespace["status"]["phase"] == "Terminating"
    condition = next(
        one for one in namespace["status"]["conditions"] if one["type"] == "NamespaceContentRemaining"
    )
    assert condition["message"] == "Some resources are remaining: configmaps has 1 resource instances"
    world.edit("configmaps", "held", lambda obj: obj["metadata"].update(finalizers=[]), namespace="team")
    world.settle()
    assert world.find("namespaces", "team") is None


def test_a_deletion_goes_on_after_a_restart(lasting: World) -> None:
    make(lasting, "team")
    lasting.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "team"}})
    lasting.delete("namespaces", "team")
    lasting.restart()
    lasting.pass_time(5)
    assert lasting.find("namespaces", "team") is None


def test_objects_of_a_deleted_namespace_can_be_deleted_one_by_one_for_some_seconds(world: World) -> None:
    make(world, "team")
    world.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "team"}})
    world.delete("namespaces", "team")
    world.pass_time(4)
    assert world.names("configmaps", "team") == ["c"]
    world.pass_time(1)
    assert world.find("namespaces", "team") is None
