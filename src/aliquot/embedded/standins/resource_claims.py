"""Claims from templates, and the release of claims that nobody uses any more.

Does what kube-controller-manager's resource claim controller does (KEP-3063, KEP-4381, KEP-5729): claims are
made for gated pods too, those of a PodGroup once for all of its pods, and an allocation ends when the last
pod that reserved the claim has finished or is gone, or the PodGroup is gone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.standin import (
    Cluster,
    StandIn,
    controller_user,
    copy,
    pod_finished,
    terminating,
)
from aliquot.embedded.standins.view import Key, controller_of, owner_reference

CLAIMS = "resourceclaims.resource.k8s.io"
TEMPLATES = "resourceclaimtemplates.resource.k8s.io"
FINALIZER = "resource.kubernetes.io/delete-protection"
POD_CLAIM_NAME = "resource.kubernetes.io/pod-claim-name"
PODGROUPS = "podgroups.scheduling.k8s.io"
#: API group and resource of a reservation for a PodGroup.
GROUP = ("scheduling.k8s.io", "podgroups")
#: A claim holds at most this many reservations (resource.k8s.io/v1, ResourceClaimReservedForMaxSize).
MOST_RESERVATIONS = 256
_LONGEST_PREFIX = 57


def claim_names(pod: Object) -> dict[str, str | None]:
    """The claim behind each entry of ``spec.resourceClaims``; None where its claim has not been made yet."""
    spec = pod.get("spec") or {}
    made = {
        one["name"]: one.get("resourceClaimName")
        for one in (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    }
    return {
        one["name"]: one.get("resourceClaimName") or made.get(one["name"])
        for one in spec.get("resourceClaims") or ()
    }


def reserved_for(claim: Object, pod: Object) -> bool:
    """Whether a reservation names the pod, or its PodGroup: a pod knows its group by name alone."""
    uid, group = pod["metadata"]["uid"], group_name(pod)
    return any(
        one.get("uid") == uid
        or (group and one.get("name") == group and (one.get("apiGroup"), one.get("resource")) == GROUP)
        for one in (claim.get("status") or {}).get("reservedFor") or ()
    )


def group_name(pod: Object) -> str:
    """The PodGroup that the pod names, "" for none."""
    return str((((pod.get("spec") or {}).get("schedulingGroup")) or {}).get("podGroupName") or "")


def allocated(claim: Object) -> bool:
    return bool((claim.get("status") or {}).get("allocation"))


def pod_reservation(pod: Object) -> Object:
    return {"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}


def reservation(pod: Object, entry: Object, group: Object | None) -> Object:
    """Who a pod's claim is reserved for: its PodGroup where the entry is the group's, else the pod."""
    if group is not None and _entry_of_group(group, entry):
        api_group, resource = GROUP
        meta = group["metadata"]
        return {"apiGroup": api_group, "resource": resource, "name": meta["name"], "uid": meta["uid"]}
    return pod_reservation(pod)


def _entry_of_group(group: Object, entry: Object) -> bool:
    """A pod's entry is the group's if its name and its claim or template are the same."""
    parts = ("name", "resourceClaimName", "resourceClaimTemplateName")
    return any(
        all(one.get(part) == entry.get(part) for part in parts)
        for one in (group.get("spec") or {}).get("resourceClaims") or ()
    )


def pod_done(pod: Object) -> bool:
    """None of its containers runs or ever will."""
    return pod_finished(pod) or (terminating(pod) and not (pod.get("spec") or {}).get("nodeName"))


def _reserving_pods(claim: Object) -> Iterable[str]:
    return [one["uid"] for one in (claim.get("status") or {}).get("reservedFor") or () if one.get("uid")]


def _groups(pod: Object) -> Iterable[str]:
    name = group_name(pod)
    return [f"{pod['metadata']['namespace']}/{name}"] if name else []


def _templates_of_group(group: Object) -> Iterable[str]:
    return [
        f"{group['metadata']['namespace']}/{one['resourceClaimTemplateName']}"
        for one in (group.get("spec") or {}).get("resourceClaims") or ()
        if one.get("resourceClaimTemplateName")
    ]


def _used_templates(pod: Object) -> Iterable[str]:
    return [
        f"{pod['metadata']['namespace']}/{one['resourceClaimTemplateName']}"
        for one in (pod.get("spec") or {}).get("resourceClaims") or ()
        if one.get("resourceClaimTemplateName")
    ]


class ResourceClaims(StandIn):
    user = controller_user("resource-claim-controller")

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.view.index(CLAIMS, "reserving pod", _reserving_pods)
        self.view.index("pods", "used template", _used_templates)
        self.view.index("pods", "member of group", _groups)
        self.view.index(PODGROUPS, "used template of group", _templates_of_group)
        self.view.on("pods", self._pod_changed)
        self.view.on(PODGROUPS, self._group_changed)
        self.view.on(CLAIMS, self._claim_changed)
        self.view.on(TEMPLATES, self._template_changed)

    def _pod_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        pod = after or before
        if pod is None or not (
            (pod.get("spec") or {}).get("resourceClaims")
            or (pod.get("status") or {}).get("extendedResourceClaimStatus")
        ):
            return
        if after is None or pod_done(after):
            uid = pod["metadata"]["uid"]
            for claim in self.view.by(CLAIMS, "reserving pod", uid):
                self.queue.add(claim)
            for claim in self.view.owned_by(uid, CLAIMS):
                self.queue.add(claim)
        else:
            self.queue.add(key)

    def _group_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        group = after or before
        if group is None or not (group.get("spec") or {}).get("resourceClaims"):
            return
        if after is None:
            uid = group["metadata"]["uid"]
            for claim in (*self.view.by(CLAIMS, "reserving pod", uid), *self.view.owned_by(uid, CLAIMS)):
                self.queue.add(claim)
        else:
            self.queue.add(key)
        for pod in self.view.by("pods", "member of group", f"{key.namespace}/{key.name}"):
            self.queue.add(pod)

    def _claim_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is not None:
            self.queue.add(key)
        elif before is not None and (owner := controller_of(before)):
            if owner.get("kind") == "Pod":
                self.queue.add(Key("pods", key.namespace, owner["name"]))
            elif owner.get("kind") == "PodGroup":
                self.queue.add(Key(PODGROUPS, key.namespace, owner["name"]))

    def _template_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if before is None:
            name = f"{key.namespace}/{key.name}"
            for pod in self.view.by("pods", "used template", name):
                self.queue.add(pod)
            for group in self.view.by(PODGROUPS, "used template of group", name):
                self.queue.add(group)

    def reconcile(self, key: Hashable) -> None:
        assert isinstance(key, Key)
        obj = self.view.get(key)
        if obj is None:
            return
        if key.resource == "pods":
            self._make_claims(key, obj)
        elif key.resource == PODGROUPS:
            self._make_group_claims(key, obj)
        else:
            self._release(key, obj)

    # Claims for pods

    def _make_claims(self, key: Key, pod: Object) -> None:
        if terminating(pod) or pod_done(pod):
            return
        made = claim_names(pod)
        group = self.view.get(Key(PODGROUPS, key.namespace, name)) if (name := group_name(pod)) else None
        new: dict[str, str] = {}
        for entry in pod["spec"].get("resourceClaims") or ():
            template_name = entry.get("resourceClaimTemplateName")
            shared = group is not None and _entry_of_group(group, entry)
            owner = group if shared and group is not None else pod
            if not template_name or self._is_made(owner, made.get(entry["name"])):
                continue
            claim = self._existing(owner, entry["name"])
            if claim is None and shared:
                continue
            if claim is None:
                template = self.view.get(Key(TEMPLATES, key.namespace, template_name))
                if template is None:
                    problem = f'resource claim template "{template_name}": not found'
                    message = f"PodResourceClaim {entry['name']}: {problem}"
                    self.warn(pod, "Pod", "FailedResourceClaimCreation", message)
                    continue
                claim = self.create(CLAIMS, key.namespace, _claim_from(template, pod, entry["name"]))
            new[entry["name"]] = claim["metadata"]["name"]
        if new:
            changed = copy(pod)
            statuses = changed.setdefault("status", {}).setdefault("resourceClaimStatuses", [])
            statuses[:] = [one for one in statuses if one["name"] not in new]
            statuses += [{"name": name, "resourceClaimName": claim} for name, claim in new.items()]
            self.write(key, changed, "status")
        if pod["spec"].get("nodeName"):
            self._reserve_for_bound(pod, group)

    def _make_group_claims(self, key: Key, group: Object) -> None:
        """One claim for each entry with a template; the group's pods learn of it by their own status."""
        if terminating(group):
            return
        status = group.get("status") or {}
        made = {
            one["name"]: one.get("resourceClaimName") for one in status.get("resourceClaimStatuses") or ()
        }
        new: dict[str, str] = {}
        for entry in group["spec"].get("resourceClaims") or ():
            template_name = entry.get("resourceClaimTemplateName")
            if not template_name or self._is_made(group, made.get(entry["name"])):
                continue
            claim = self._existing(group, entry["name"])
            if claim is None:
                template = self.view.get(Key(TEMPLATES, key.namespace, template_name))
                if template is None:
                    problem = f'resource claim template "{template_name}": not found'
                    message = f"PodGroupResourceClaim {entry['name']}: {problem}"
                    self.warn(group, "PodGroup", "FailedResourceClaimCreation", message)
                    continue
                claim = self.create(CLAIMS, key.namespace, _claim_from(template, group, entry["name"]))
            new[entry["name"]] = claim["metadata"]["name"]
        if new:
            changed = copy(group)
            statuses = changed.setdefault("status", {}).setdefault("resourceClaimStatuses", [])
            statuses[:] = [one for one in statuses if one["name"] not in new]
            statuses += [{"name": name, "resourceClaimName": claim} for name, claim in new.items()]
            self.write(key, changed, "status")
        for pod in self.view.by("pods", "member of group", f"{key.namespace}/{key.name}"):
            self.queue.add(pod)

    def _is_made(self, maker: Object, name: str | None) -> bool:
        """Whether the claim that a status names is there; one that was deleted is made again."""
        if name is None:
            return False
        claim = self.view.get(claim_key(maker["metadata"]["namespace"], name))
        owner = controller_of(claim) if claim is not None else None
        return owner is not None and owner["uid"] == maker["metadata"]["uid"]

    def _existing(self, maker: Object, entry: str) -> Object | None:
        """The claim made for this entry of a pod or PodGroup before its status could tell."""
        for claim in self.view.controlled_by(maker["metadata"]["uid"], CLAIMS):
            if (claim["metadata"].get("annotations") or {}).get(POD_CLAIM_NAME) == entry and not terminating(
                claim
            ):
                return claim
        return None

    def _reserve_for_bound(self, pod: Object, group: Object | None) -> None:
        """A pod created with a node name passed by the scheduler, which would have reserved its claims."""
        entries = {one["name"]: one for one in pod["spec"].get("resourceClaims") or ()}
        for entry, name in claim_names(pod).items():
            if name is None:
                continue
            key = Key(CLAIMS, pod["metadata"]["namespace"], name)
            claim = self.view.get(key)
            if claim is None or terminating(claim) or not allocated(claim) or reserved_for(claim, pod):
                continue
            if len(claim["status"].get("reservedFor") or ()) < MOST_RESERVATIONS:
                changed = copy(claim)
                changed["status"].setdefault("reservedFor", []).append(
                    reservation(pod, entries[entry], group)
                )
                self.write(key, changed, "status")

    # Claims nobody uses

    def _release(self, key: Key, claim: Object) -> None:
        status = claim.get("status") or {}
        reservations = status.get("reservedFor") or []
        valid = [one for one in reservations if self._holds(key.namespace, one)]
        protected = FINALIZER in (claim["metadata"].get("finalizers") or ())
        unused = not valid
        changed: Object | None = None
        if len(valid) < len(reservations):
            changed = copy(claim)
            changed["status"]["reservedFor"] = valid
            if unused and protected:
                _deallocate(changed)
        elif protected and unused and terminating(claim):
            changed = copy(claim)
            _deallocate(changed)
        if changed is not None:
            changed = self.write(key, changed, "status")
            if protected and not allocated(changed):
                changed["metadata"]["finalizers"] = [
                    one for one in changed["metadata"].get("finalizers") or () if one != FINALIZER
                ]
                changed = self.write(key, changed)
        if (
            unused
            and not terminating(claim)
            and (pod := self._owner(claim)) is not None
            and self._over(pod, claim)
        ):
            self.delete(key, uid=claim["metadata"]["uid"])

    def _holds(self, namespace: str, reservation: Object) -> bool:
        if (reservation.get("apiGroup"), reservation.get("resource")) == GROUP:
            group = self.view.get(Key(PODGROUPS, namespace, reservation.get("name") or ""))
            return group is not None and group["metadata"]["uid"] == reservation.get("uid")
        if reservation.get("resource") != "pods" or reservation.get("apiGroup"):
            return True
        pod = self.view.pod(namespace, reservation.get("name") or "")
        return pod is not None and pod["metadata"]["uid"] == reservation.get("uid") and not pod_done(pod)

    def _owner(self, claim: Object) -> Object | None:
        owner = controller_of(claim)
        if owner is None or owner.get("kind") != "Pod" or owner.get("apiVersion") != "v1":
            return None
        return self.view.pod(claim["metadata"]["namespace"], owner["name"])

    def _over(self, pod: Object, claim: Object) -> bool:
        owner = controller_of(claim) or {}
        return pod["metadata"]["uid"] != owner.get("uid") or pod_done(pod)


def _name_prefix(pod: str, entry: str) -> str:
    """``<pod>-<entry>-``; names that are too long are cut in proportion, so that something of both is left.

    Five letters follow, and 63 characters are the most.
    """
    full = len(pod) + len(entry) + 2
    if full <= _LONGEST_PREFIX:
        return f"{pod}-{entry}-"
    return f"{pod[: len(pod) * _LONGEST_PREFIX // full]}-{entry[: len(entry) * _LONGEST_PREFIX // full]}"


def _claim_from(template: Object, maker: Object, entry: str) -> Object:
    """``<pod or PodGroup>-<entry>-<five letters>``, owned by the pod or PodGroup."""
    spec = template.get("spec") or {}
    meta = spec.get("metadata") or {}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "generateName": _name_prefix(maker["metadata"]["name"], entry),
            "namespace": maker["metadata"]["namespace"],
            "labels": dict(meta.get("labels") or {}),
            "annotations": dict(meta.get("annotations") or {}) | {POD_CLAIM_NAME: entry},
            "ownerReferences": [owner_reference({"apiVersion": "v1", "kind": "Pod"} | maker)],
        },
        "spec": copy(spec.get("spec") or {}),
    }


def _deallocate(claim: Object) -> None:
    """Device statuses go with the allocation that they speak of."""
    for part in ("allocation", "devices"):
        claim["status"].pop(part, None)
    if not claim["status"].get("reservedFor"):
        claim["status"].pop("reservedFor", None)


def claim_key(namespace: str, name: str) -> Key:
    return Key(CLAIMS, namespace, name)
