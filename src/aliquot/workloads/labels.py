"""Labels and annotations by which people and controllers say how pods belong together.

A setting (`SETTINGS`) may be an annotation or a label, on the pods or on any object that owns them; the pods
come first, then the owners from the nearest up; of one object the annotation counts.
"""

GANG = "aliquot.dev/gang"
"""Pods with the same value are one gang, whatever owns them."""

GANG_SIZE = "aliquot.dev/gang-size"
"""How many members must start together; 1: each on its own."""

SUBGROUPS = "aliquot.dev/subgroups"
"""The tree of subgroups as JSON; see `aliquot.workloads.subgroup_annotation`."""

GANG_MIN = "aliquot.dev/gang-min"
"""How many members are enough to start, where that is less than the gang's size."""

GANG_MAX = "aliquot.dev/gang-max"
"""How many members run at most; those beyond wait."""

SUBGROUP = "aliquot.dev/subgroup"
"""On a pod: the subgroup (leaf of the tree) that it belongs to."""

SUBGROUP_MIN = "aliquot.dev/subgroup-min"
"""On the pods of a subgroup: how many of them must start together."""

PREEMPTIBLE = "aliquot.dev/preemptible"
"""true or false: whether others may take the place of this workload."""

TOPOLOGY = "aliquot.dev/topology"
"""The Topology that the levels below are of; not needed where only one knows them."""

TOPOLOGY_REQUIRED = "aliquot.dev/topology-required"
"""The level of which all members must be in one domain."""

TOPOLOGY_PREFERRED = "aliquot.dev/topology-preferred"
"""The level of which all members should be in one domain."""

SUBGROUP_TOPOLOGY_REQUIRED = "aliquot.dev/subgroup-topology-required"
"""On the pods of a subgroup: the same for its members alone."""

SUBGROUP_TOPOLOGY_PREFERRED = "aliquot.dev/subgroup-topology-preferred"
"""On the pods of a subgroup: the same for its members alone."""

CHECKPOINT_INTERVAL = "aliquot.dev/checkpoint-interval"
"""How often the workload saves its work, as a duration (10m)."""

LAST_CHECKPOINT = "aliquot.dev/last-checkpoint"
"""When it last did, in RFC 3339."""

STARTUP_SECONDS = "aliquot.dev/startup-seconds"
"""How long the workload takes from its pods' start until it does useful work."""

EXPECTED_SECONDS = "aliquot.dev/expected-seconds"
"""On a pod or its Job: how long it is expected to run."""

STALE_SINCE = "aliquot.dev/stale-since"
"""Since when the gang runs with fewer members than its minimum, in RFC 3339; written by the controller."""

ADMITTED_AT = "aliquot.dev/admitted-at"
"""When the first gate was lifted of the gang as it was admitted this time, in RFC 3339; written by the
controller with the lifting of the pod's own gate."""

SHOWN_AT = "aliquot.dev/shown-at"
"""When the pod was let go without a place, for a cluster autoscaler to see; written by the controller."""

STALENESS_GRACE = "aliquot.dev/staleness-grace"
"""How long this gang may, as a duration; negative: for ever."""

PREEMPTION_DELAY = "aliquot.dev/preemption-delay"
"""How long this gang waits before it may take places from others, as a duration."""

TASK_PRIORITY = "kai.scheduler/task-priority"
"""Label of KAI-Scheduler: order within the gang, higher first, those with a value before those without."""

KAI_PREEMPTIBILITY = "kai.scheduler/preemptibility"
"""preemptible or non-preemptible."""

KAI_PREEMPTION_DELAY = "kai.scheduler/preemption-delay"
KAI_STALENESS_GRACE = "kai.scheduler/staleness-grace-period"
KAI_POD_GROUP = "pod-group-name"
"""Annotation of a pod: its KAI PodGroup."""

KAI_SUBGROUP = "kai.scheduler/subgroup-name"
KAI_BATCH_MIN_MEMBER = "kai.scheduler/batch-min-member"
"""On a Job: how many of its pods must start together."""

KAI_TOPOLOGY = "kai.scheduler/topology"
KAI_TOPOLOGY_REQUIRED = "kai.scheduler/topology-required-placement"
KAI_TOPOLOGY_PREFERRED = "kai.scheduler/topology-preferred-placement"
KAI_SEGMENT_SIZE = "kai.scheduler/segment-size"
"""So many pods, consecutive by index, make a segment with a topology of its own."""

KAI_SEGMENT_REQUIRED = "kai.scheduler/segment-topology-required-placement"
KAI_SEGMENT_PREFERRED = "kai.scheduler/segment-topology-preferred-placement"
KAI_STALE_SINCE = "kai.scheduler/stale-podgroup-timestamp"
"""On a KAI PodGroup, in RFC 3339."""

KAI_STARTED = "kai.scheduler/last-start-timestamp"
"""On a KAI PodGroup, in RFC 3339."""

KAI_PRIORITY_CLASS = "priorityClassName"
"""Label of KAI-Scheduler on an owner or a pod."""

RAY_PRIORITY_CLASS = "ray.io/priority-class-name"
"""Label of KubeRay on a RayCluster, RayJob or RayService."""

KUEUE_POD_GROUP = "kueue.x-k8s.io/pod-group-name"
"""Label of a pod: its plain pod group."""

KUEUE_POD_GROUP_TOTAL = "kueue.x-k8s.io/pod-group-total-count"
"""Annotation of the pods of such a group: how many there are."""

KUEUE_FAST_ADMISSION = "kueue.x-k8s.io/pod-group-fast-admission"
"""Annotation of the pods of such a group: "true" if not all of them need to exist before some start."""

KUEUE_ROLE = "kueue.x-k8s.io/role-hash"
"""Annotation of a pod: pods with the same value are alike."""

KUEUE_POD_INDEX = "kueue.x-k8s.io/pod-group-pod-index"
"""Label of a pod: its number in the group."""

KUEUE_TOPOLOGY_REQUIRED = "kueue.x-k8s.io/podset-required-topology"
"""Annotation of a pod template: the node label of the level of which its pods must be in one domain."""

KUEUE_TOPOLOGY_PREFERRED = "kueue.x-k8s.io/podset-preferred-topology"
KUEUE_SLICE_SIZE = "kueue.x-k8s.io/podset-slice-size"
"""Annotation of a pod template: so many pods, consecutive by index, make a slice."""

KUEUE_SLICE_REQUIRED = "kueue.x-k8s.io/podset-slice-required-topology"
"""Annotation of a pod template: the node label of the level of which every slice must be in one domain."""

VOLCANO_POD_GROUP = "scheduling.k8s.io/group-name"
"""Annotation of a pod: its Volcano PodGroup."""

VOLCANO_TASK = "volcano.sh/task-spec"
"""Annotation (and label) of a pod: its task in a Volcano PodGroup."""

COSCHEDULING_POD_GROUP = "scheduling.x-k8s.io/pod-group"
"""Label of a pod: its PodGroup of the scheduler plugins."""

JOB_COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
"""Label and annotation of a pod of an indexed Job."""

STATEFUL_SET_INDEX = "apps.kubernetes.io/pod-index"
"""Label of a pod of a StatefulSet."""

JOB_SET = "jobset.sigs.k8s.io/jobset-name"
JOB_SET_ROLE = "jobset.sigs.k8s.io/replicatedjob-name"
JOB_SET_REPLICAS = "jobset.sigs.k8s.io/replicatedjob-replicas"
JOB_SET_JOB_INDEX = "jobset.sigs.k8s.io/job-index"
JOB_SET_EXCLUSIVE = "alpha.jobset.sigs.k8s.io/exclusive-topology"
"""Annotation: the node label of the level of which every Job has a domain for itself."""

JOB_SET_NODE_SELECTORS = "alpha.jobset.sigs.k8s.io/node-selector"
"""Annotation: nodes are labelled beforehand, so that no pod has to wait for another to know its domain."""

LWS = "leaderworkerset.sigs.k8s.io/name"
LWS_GROUP = "leaderworkerset.sigs.k8s.io/group-index"
LWS_WORKER = "leaderworkerset.sigs.k8s.io/worker-index"
LWS_SIZE = "leaderworkerset.sigs.k8s.io/size"
"""Annotation of a pod: how many pods its group has, the leader (worker 0) included."""

LWS_EXCLUSIVE = "leaderworkerset.sigs.k8s.io/exclusive-topology"
"""Annotation: the node label of the level of which every group has a domain for itself."""

LWS_SUBGROUP = "leaderworkerset.sigs.k8s.io/subgroup-index"
LWS_SUBGROUP_SIZE = "leaderworkerset.sigs.k8s.io/subgroup-size"
LWS_SUBGROUP_POLICY = "leaderworkerset.sigs.k8s.io/subgroup-policy-type"
LWS_SUBGROUP_EXCLUSIVE = "leaderworkerset.sigs.k8s.io/subgroup-exclusive-topology"

RAY_CLUSTER = "ray.io/cluster"
RAY_NODE_TYPE = "ray.io/node-type"
"""head, worker, or redis-cleanup (which takes no part)."""

RAY_GROUP = "ray.io/group"
TRAINING_JOB = "training.kubeflow.org/job-name"
TRAINING_OPERATOR = "training.kubeflow.org/operator-name"
"""pytorchjob-controller, tfjob-controller, mpi-operator ..."""

TRAINING_ROLE = "training.kubeflow.org/replica-type"
TRAINING_INDEX = "training.kubeflow.org/replica-index"
TRAINING_JOB_ROLE = "training.kubeflow.org/job-role"
"""master, on the one pod that leads; launcher or worker for the MPI operator."""

SPARK_APPLICATION = "spark-app-selector"
"""Label of the driver and of the executors: the id that Spark gives to the run."""

SPARK_ROLE = "spark-role"
SPARK_EXECUTOR = "spark-exec-id"
SPARK_OPERATOR_NAME = "sparkoperator.k8s.io/app-name"
"""Label: the SparkApplication, where the Spark operator made the pods."""

KSERVE = "serving.kserve.io/inferenceservice"

SETTINGS = frozenset(
    {
        GANG_SIZE,
        GANG_MIN,
        GANG_MAX,
        PREEMPTIBLE,
        TOPOLOGY,
        TOPOLOGY_REQUIRED,
        TOPOLOGY_PREFERRED,
        CHECKPOINT_INTERVAL,
        LAST_CHECKPOINT,
        STARTUP_SECONDS,
        STALE_SINCE,
        STALENESS_GRACE,
        PREEMPTION_DELAY,
        SUBGROUPS,
        KAI_PREEMPTIBILITY,
        KAI_PREEMPTION_DELAY,
        KAI_STALENESS_GRACE,
        KAI_BATCH_MIN_MEMBER,
        KAI_TOPOLOGY,
        KAI_TOPOLOGY_REQUIRED,
        KAI_TOPOLOGY_PREFERRED,
        KAI_SEGMENT_SIZE,
        KAI_SEGMENT_REQUIRED,
        KAI_SEGMENT_PREFERRED,
        KAI_PRIORITY_CLASS,
        RAY_PRIORITY_CLASS,
        KUEUE_POD_GROUP_TOTAL,
        KUEUE_FAST_ADMISSION,
        JOB_SET_EXCLUSIVE,
        JOB_SET_NODE_SELECTORS,
        LWS_SIZE,
        LWS_EXCLUSIVE,
        LWS_SUBGROUP_SIZE,
        LWS_SUBGROUP_POLICY,
        LWS_SUBGROUP_EXCLUSIVE,
    }
)
"""What may be said of a gang as a whole."""

SUBGROUP_SETTINGS = frozenset(
    {
        SUBGROUP_MIN,
        SUBGROUP_TOPOLOGY_REQUIRED,
        SUBGROUP_TOPOLOGY_PREFERRED,
        KUEUE_TOPOLOGY_REQUIRED,
        KUEUE_TOPOLOGY_PREFERRED,
        KUEUE_SLICE_SIZE,
        KUEUE_SLICE_REQUIRED,
    }
)
"""What the pods of a subgroup may say of it."""
