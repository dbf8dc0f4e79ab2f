"""Which optional parts of Dynamic Resource Allocation a Kubernetes version has switched on."""

from dataclasses import dataclass

KubernetesVersion = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Features:
    """The switches of the allocator, one per feature gate of Kubernetes.

    admin_access: DRAAdminAccess. binding_conditions: DRADeviceBindingConditions together with
    DRAResourceClaimDeviceStatus. consumable_capacity: DRAConsumableCapacity. device_taints:
    DRADeviceTaints. list_attributes: DRAListTypeAttributes. partitionable_devices:
    DRAPartitionableDevices. prioritized_list: DRAPrioritizedList.
    """

    admin_access: bool = False
    binding_conditions: bool = False
    consumable_capacity: bool = False
    device_taints: bool = False
    list_attributes: bool = False
    partitionable_devices: bool = False
    prioritized_list: bool = False

    @staticmethod
    def of(kubernetes: KubernetesVersion) -> "Features":
        """The defaults of a minor version (source: Kubernetes, list of feature gates).

        DRAAdminAccess and DRAPrioritizedList are on since 1.34; binding conditions, consumable capacity,
        device taints and partitionable devices since 1.36; list attributes are alpha in 1.36.
        """
        newer = kubernetes >= (1, 36)
        return Features(
            admin_access=kubernetes >= (1, 34),
            prioritized_list=kubernetes >= (1, 34),
            binding_conditions=newer,
            consumable_capacity=newer,
            device_taints=newer,
            partitionable_devices=newer,
        )
