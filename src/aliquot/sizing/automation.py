"""What may be done to workloads without anybody asking: the file of `aliquot controller --automation`."""

import msgspec

from aliquot.sizing.culling import CullingPolicy
from aliquot.sizing.policy import SizingPolicy, isolation_of_word
from aliquot.sizing.rollout import RolloutPolicy


class SizesPolicy(RolloutPolicy, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How sizes are rolled out, with what is right: `sizing` as for `aliquot recommend --policy`."""

    sizing: SizingPolicy = SizingPolicy()


class AutomationPolicy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """idle: what becomes of idle work. sizes: which sizes are changed. Nothing of both unless it is said, and
    everything is a dry run unless it says otherwise."""

    idle: CullingPolicy = CullingPolicy()
    sizes: SizesPolicy = SizesPolicy()

    @property
    def empty(self) -> bool:
        """Nothing may be done."""
        return not self.idle.rules and not self.sizes.queues

    def problem(self) -> str:
        """What is wrong with a value that has the right type; "" if nothing is."""
        for word in (self.sizes.sizing.isolation, *self.sizes.sizing.isolation_of.values()):
            try:
                isolation_of_word(word)
            except ValueError as error:
                return f"sizes.sizing.isolation: {error}"
        if not 0 < self.sizes.sizing.risk < 1:
            return f"sizes.sizing.risk: {self.sizes.sizing.risk} is no probability; write 0.001"
        for number, rule in enumerate(self.idle.rules):
            if min(rule.grace_seconds, rule.at_once, *(step.after_seconds for step in rule.steps), 0) < 0:
                return f"idle.rules[{number}]: a number is below 0; write 0 or more"
            if not 0 <= rule.busy_percent < 100:
                return f"idle.rules[{number}].busyPercent: {rule.busy_percent} is not from 0 to 99"
        return ""
