"""Shared claims for accelerators that must say, by label, that they are of their pods' queue.

KAI-Scheduler demands it: whoever may use another queue's claim could spend devices that the other pays for.
Claims that are made for one pod need no label.
"""

from collections.abc import Iterable

from aliquot.model.core import QUEUE_LABELS
from aliquot.model.resource import ResourceClaim
from aliquot.model.verdicts import Fact, Fix, Reason, Verdict
from aliquot.scheduling.facts import PodFacts


def claim_of_other_queue(facts: Iterable[PodFacts], queue: str, counted: str) -> Verdict | None:
    """The first claim of these pods that is shared and not labelled with their queue. counted: only claims
    for a class with this in its name."""
    for item in facts:
        named = {use.resource_claim_name for use in item.pod.spec.resource_claims if use.resource_claim_name}
        for claim in item.claims.claims:
            if claim.metadata.name not in named or not _counts(claim, counted):
                continue
            label = _queue(claim)
            if label != queue:
                has = f"it is labelled with queue {label}" if label else "it has no label that names a queue"
                what = f"{has}, and its pods are in {queue}"
                subject = claim.metadata.name
                fact = Fact(test="claimQueue", subject=subject, wanted=queue, available=what)
                return Verdict(
                    reason=Reason.INVALID_CLAIM,
                    facts=(fact,),
                    fix=Fix(change="correctClaim", subject=subject),
                )
    return None


def _counts(claim: ResourceClaim, counted: str) -> bool:
    return any(
        counted in wanted.device_class_name
        for request in claim.spec.devices.requests
        for wanted in (*((request.exactly,) if request.exactly else ()), *request.first_available)
    )


def _queue(claim: ResourceClaim) -> str:
    labels = claim.metadata.labels
    return next((labels[label] for label in QUEUE_LABELS if labels.get(label)), "")
