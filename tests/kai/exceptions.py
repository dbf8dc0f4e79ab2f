"""Scenarios in which Aliquot answers otherwise than KAI-Scheduler, and why its answer is the better one."""

from collections.abc import Mapping

EXCEPTIONS: Mapping[str, str] = {
    "fractional/unit-allocatefractionalgpu-014-test-gpusharingorder-for-a-node-that-has-a-gpu-reservation-pod"
    "-pending-two-pods": (
        "A pod was promised half a device in an earlier cycle, and nothing is left of what it was to wait"
        " for: every device is idle. Aliquot starts it and the one beside it at once, where KAI-Scheduler"
        " keeps the promise and lets both wait for a device that nobody will give back. A promise lasts for"
        " one decision, in KAI-Scheduler too: a session read from a cluster knows pods that wait, never pods"
        " that are promised."
    ),
}
"""The reason by the scenario's id."""
