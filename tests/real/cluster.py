"""A control plane without kubelets: Aliquot installed, nodes made as objects, somebody who runs the pods.

Everything goes through the API, so that any control plane will do. It has to be one for tests: nodes are made
that do not exist, and pods are said to run that do not.
"""

import contextlib
import http.client
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.server import Answer, Api, Object

from aliquot import manifests
from aliquot.catalog.fleet import parse_fleet
from aliquot.catalog.fleet_expansion import expand

ROOT = Path(__file__).resolve().parents[2]
MADE = "aliquot.dev/made-for-tests"
"""A label of nodes that no machine stands behind."""

SECONDS = 60.0
TOKEN_SECONDS = 7200
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class Cluster:
    """The API as an administrator, and what the tests need from it."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.api = api
        self.folder = folder
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []

    # Requests

    def path(self, obj: Object, *, named: bool = True) -> str:
        """Where an object is served."""
        api_version, kind = obj["apiVersion"], obj["kind"]
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        served = self._served(root)[kind]
        space = obj["metadata"].get("namespace")
        scope = f"/namespaces/{space}" if served["namespaced"] else ""
        return f"{root}{scope}/{served['name']}" + (f"/{obj['metadata']['name']}" if named else "")

    def _served(self, root: str) -> dict[str, Object]:
        resources = self.api.request("GET", root).body.get("resources", [])
        return {one["kind"]: one for one in resources if "/" not in one["name"]}

    def apply(self, obj: Object, manager: str = "tests") -> Answer:
        """Server-side apply, with the strictest validation of fields."""
        query = f"fieldManager={manager}&fieldValidation=Strict&force=true"
        path = self.path(obj)
        return self.api.request("PATCH", path, obj, content_type=APPLY, query=query)

    def create(self, path: str, obj: Object) -> Object:
        """A new object. Where its namespace is new, its service account may take a moment."""
        end = time.monotonic() + SECONDS
        while True:
            answer = self.api.request("POST", path, obj)
            if answer.code == 201:
                made: Object = answer.body
                return made
            if "serviceaccount" not in answer.content.decode() or time.monotonic() > end:
                raise AssertionError(answer.content.decode())
            time.sleep(0.05)

    def get(self, path: str) -> Object:
        answer = self.api.request("GET", path)
        assert answer.code == 200, answer.content
        found: Object = answer.body
        return found

    def items(self, path: str, query: str = "") -> list[Object]:
        answer = self.api.request("GET", path, query=query)
        assert answer.code == 200, answer.content
        found: list[Object] = answer.body["items"]
        return found

    def patch(self, path: str, patch: Object) -> Answer:
        return self.api.request("PATCH", path, patch, content_type=MERGE)

    def until(self, condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
        """Wait for it, or fail with what was waited for."""
        end = time.monotonic() + seconds
        while not condition():
            if self._failures:
                raise self._failures[0]
            if time.monotonic() > end:
                pytest.fail(f"after {seconds:.0f} s still not: {what}")
            time.sleep(0.1)

    # What there is

    def install(self) -> list[str]:
        """Aliquot's manifests, in their order; gives the warnings of the server."""
        warnings = []
        for obj in manifests.load(self.api.version[1]):
            if obj["kind"] in ("Queue", "Topology"):
                continue
            end = time.monotonic() + SECONDS
            while (answer := self.apply(obj, "aliquot-install")).code == 404 and time.monotonic() < end:
                time.sleep(0.2)
            assert answer.code in (200, 201), f"{obj['kind']} {obj['metadata']['name']}: {answer.content!r}"
            if warning := answer.headers.get("warning"):
                warnings.append(f"{obj['kind']} {obj['metadata']['name']}: {warning}")
        return warnings

    def fleet(self, text: str) -> list[str]:
        """Nodes, slices and classes of a fleet file; gives the names of the nodes."""
        nodes = []
        for obj in expand(parse_fleet(text, "tests")):
            if obj["kind"] == "Node":
                obj["metadata"].setdefault("labels", {})[MADE] = "true"
                nodes.append(obj["metadata"]["name"])
            answer = self.api.request("POST", self.path(obj, named=False), obj)
            assert answer.code in (201, 409), f"{obj['kind']} {obj['metadata']['name']}: {answer.content!r}"
        for name in nodes:
            # The server taints new nodes as not ready, and here is no node controller that takes that back.
            self.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})
        return nodes

    def clear(self) -> None:
        """Remove what an earlier run left: namespaces with all in them, nodes, slices."""
        self.clear_spaces()
        for path in ("/api/v1/nodes", "/apis/resource.k8s.io/v1/resourceslices"):
            for item in self.items(path):
                self.api.request("DELETE", f"{path}/{item['metadata']['name']}")

    def clear_spaces(self) -> None:
        """Remove the namespaces that tests made, with all in them."""
        spaces = f"labelSelector={MADE}"
        for item in self.items("/api/v1/namespaces", spaces):
            name = item["metadata"]["name"]
            for found in self.items(f"/api/v1/namespaces/{name}/pods"):
                options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
                self.api.request(
                    "DELETE", f"/api/v1/namespaces/{name}/pods/{found['metadata']['name']}", options
                )
            self.api.request("DELETE", f"/api/v1/namespaces/{name}")
        self.until(
            lambda: not self.items("/api/v1/namespaces", spaces), "the namespaces of before are gone", 180
        )

    def namespace(self, name: str, *, managed: bool = True, labels: Object | None = None) -> str:
        found = {MADE: "true"} | ({"aliquot.dev/managed": "true"} if managed else {}) | (labels or {})
        obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": found}}
        answer = self.apply(obj)
        assert answer.code in (200, 201), answer.content
        return name

    def template(self, space: str, count: int, name: str = "") -> str:
        """A ResourceClaimTemplate for so many whole GPUs."""
        name = name or f"gpus-{count}"
        request = {"name": "gpus", "exactly": {"deviceClassName": "gpu.nvidia.com", "count": count}}
        obj = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaimTemplate",
            "metadata": {"name": name, "namespace": space},
            "spec": {"spec": {"devices": {"requests": [request]}}},
        }
        answer = self.apply(obj)
        assert answer.code in (200, 201), answer.content
        return name

    # What acts

    def kubeconfig(self) -> Path:
        """Of Aliquot's service account, with a token that the API server made for it."""
        account = f"/api/v1/namespaces/{manifests.NAMESPACE}/serviceaccounts/{manifests.SERVICE_ACCOUNT}"
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        }
        answer = self.api.request("POST", f"{account}/token", asked)
        assert answer.code == 201, answer.content
        connection = self.api.connection
        authority = self.folder / "ca.crt"
        cluster: Object = {"server": connection.server}
        if connection.ca:
            authority.write_text(connection.ca)
            cluster["certificate-authority"] = str(authority)
        elif connection.insecure:
            cluster["insecure-skip-tls-verify"] = True
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": "aliquot", "user": {"token": answer.body["status"]["token"]}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "aliquot"}}],
            "current-context": "real",
        }
        path = self.folder / "aliquot.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    @contextlib.contextmanager
    def controller(self, name: str = "controller", lease_seconds: int = 15) -> Iterator["Controller"]:
        """`aliquot controller` as a process of its own, with the role that is shipped."""
        running = Controller(self, name, lease_seconds)
        try:
            yield running
        finally:
            running.stop()

    def follow(self, path: str, seen: Callable[[str, Object], None]) -> None:
        """Call `seen` for every event of a collection, from now on, in a thread."""
        listed = self.get(path)
        kind = {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}
        for item in listed["items"]:
            seen("ADDED", kind | item)
        version = listed["metadata"]["resourceVersion"]

        def run() -> None:
            nonlocal version
            while not self._stop.is_set():
                query = f"resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=5"
                with contextlib.suppress(OSError, http.client.HTTPException):
                    for event in self.api.events(path, query):
                        if event["type"] in ("REFUSED", "ERROR"):
                            raise AssertionError(f"the watch of {path} broke: {event}")
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] != "BOOKMARK":
                            seen(event["type"], event["object"])

        self._thread(run, f"follow {path}")

    def run_pods(self, workers: int = 4) -> None:
        """What kubelets would do: bound pods run, for as long as an annotation says; deleted ones end."""
        work: queue.Queue[tuple[str, Object]] = queue.Queue()
        known: set[tuple[str, str]] = set()

        def seen(change: str, pod: Object) -> None:
            meta = pod["metadata"]
            if change == "DELETED" or not pod["spec"].get("nodeName"):
                return
            phase = pod.get("status", {}).get("phase")
            if meta.get("deletionTimestamp"):
                step = "end"
            elif phase == "Pending":
                step = "start"
            elif phase == "Running":
                step = "finish"
            else:
                return
            if (meta["uid"], step) not in known:
                known.add((meta["uid"], step))
                work.put((step, pod))

        def run() -> None:
            while not self._stop.is_set():
                with contextlib.suppress(queue.Empty):
                    step, pod = work.get(timeout=0.2)
                    self._pod_step(step, pod)

        self.follow("/api/v1/pods", seen)
        for number in range(workers):
            self._thread(run, f"kubelet {number}")

    def _pod_step(self, step: str, pod: Object) -> None:
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if step == "end":
            options = {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "gracePeriodSeconds": 0,
                "preconditions": {"uid": meta["uid"]},
            }
            self.api.request("DELETE", path, options)
            return
        if step == "finish":
            seconds = (meta.get("annotations") or {}).get("aliquot.dev/run-seconds")
            if seconds is None:
                return
            time.sleep(min(float(seconds), 2.0) if float(seconds) < 10 else 0)
            if float(seconds) >= 10:
                return
        running = step == "start"
        conditions = [
            {"type": kind, "status": "True" if running else "False", "lastTransitionTime": now}
            for kind in ("Initialized", "Ready", "ContainersReady", "PodReadyToStartContainers")
        ]
        status = {
            "phase": "Running" if running else "Succeeded",
            "startTime": now,
            "conditions": conditions,
        }
        kind = "application/strategic-merge-patch+json"
        document = {"metadata": {"uid": meta["uid"]}, "status": status}
        self.api.request("PATCH", f"{path}/status", document, content_type=kind)

    def _thread(self, work: Callable[[], None], name: str) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._failures.append(error)
            finally:
                self.api.close()

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


class Controller:
    """A running `aliquot controller`."""

    def __init__(self, cluster: Cluster, name: str, lease_seconds: int) -> None:
        self.log = cluster.folder / f"{name}.log"
        self._notes = self.log.open("w")
        command = [sys.executable, "-m", "aliquot", "controller", "--lease-seconds", str(lease_seconds)]
        command += ["--kubeconfig", str(cluster.kubeconfig()), "--state", str(cluster.folder / name)]
        self.process = subprocess.Popen(
            command, stdout=self._notes, stderr=self._notes, cwd=ROOT, env=_environment()
        )

    def stop(self) -> None:
        """Ctrl-C; killed where that does not help."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._notes.close()

    def kill(self) -> None:
        """At once, as a lost machine does."""
        self.process.kill()
        self.process.wait()

    @property
    def forbidden(self) -> list[str]:
        """Lines of the log that tell of something the role does not allow."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if "403" in line or "orbidden" in line]


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if "KUBECONFIG" not in key}


def pod(name: str, space: str, claims: list[Any], **more: Any) -> Object:
    """A pod with claims: names of templates, or (name,) of a claim."""
    entries = [
        {"name": f"c{number}", "resourceClaimName": one[0]}
        if isinstance(one, tuple)
        else {"name": f"c{number}", "resourceClaimTemplateName": one}
        for number, one in enumerate(claims)
    ]
    resources: Object = {"requests": {"cpu": more.pop("cpu", "100m")}}
    if entries:
        resources["claims"] = [{"name": entry["name"]} for entry in entries]
    annotations = {"aliquot.dev/run-seconds": more.pop("seconds")} if "seconds" in more else {}
    labels = more.pop("labels", {})
    spec: Object = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "none:1", "resources": resources}],
    }
    if entries:
        spec["resourceClaims"] = entries
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "annotations": annotations, "labels": labels},
        "spec": spec | more,
    }


def job(name: str, space: str, size: int, template: str, **more: Any) -> Object:
    """A Job whose pods start together."""
    made = pod("x", space, [template], restartPolicy="Never", **more)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": space},
        "spec": {
            "parallelism": size,
            "completions": size,
            "backoffLimit": 1000,
            "template": {
                "metadata": {"annotations": made["metadata"]["annotations"], "labels": {"gang": name}},
                "spec": made["spec"],
            },
        },
    }


def node_of(item: Object) -> str:
    return str(item["spec"].get("nodeName") or "")


def gated(item: Object) -> bool:
    return bool(item["spec"].get("schedulingGates"))
