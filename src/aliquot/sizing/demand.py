"""The MIG instances that recommendations ask for, and the GPUs of a cluster that could be cut into them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction

from aliquot.catalog.mig import MigBoard
from aliquot.inventory.devices import DeviceState, Holder, PartState
from aliquot.inventory.report import Report
from aliquot.model.meta import ObjectRef
from aliquot.sizing.choosing import Advice, Recommendation
from aliquot.sizing.cluster import Fleet, accelerator_of
from aliquot.sizing.layouts import Instance
from aliquot.sizing.parts import Mode, mig_board
from aliquot.sizing.repartition import STEPS, Gpu, Held, Repartition, repartition


def repartition_of(
    report: Report, fleet: Fleet, found: Iterable[Recommendation], steps: int = STEPS
) -> Repartition:
    """The plan by which every workload that should have a MIG instance gets one, on the GPUs that there are.

    Workloads that keep what they have stay where they are if possible. A GPU that is held as a whole counts
    as free when all who hold it should have something smaller; they are part of the demand. Raises
    DemandError where instances are asked for that no GPU has.
    """
    wanted: Counter[str] = Counter()
    changing: set[tuple[str, str]] = set()
    for item in found:
        part = item.part
        if part is None or part.mode is not Mode.MIG or item.advice is Advice.KEEP:
            continue
        wanted[part.name] += item.profile.pods * item.profile.devices
        for use in item.profile.uses:
            pod = use.memory.owner.pod
            if pod is not None:
                changing.add((pod.namespace, pod.name))
    gpus = []
    for state in fleet.devices:
        model = accelerator_of(state.board.product)
        board = mig_board(model) if model is not None else None
        if board is not None and not state.problem:
            gpus.append(gpu_of(state, board, changing))
    return repartition(gpus, wanted, steps)


def gpu_of(state: DeviceState, board: MigBoard, changing: set[tuple[str, str]]) -> Gpu:
    """A device as a plan sees it. changing: pods that leave in any case, as they get another part."""
    held: list[Held] = []
    free: list[Instance] = []
    whole: Held | None = None
    divided = False
    for part in state.parts:
        holders = [holder for holder in part.holders if not holder.admin]
        instance = _instance(part, board)
        staying = [holder for holder in holders if not _all_change(holder, changing)]
        if instance is not None:
            divided = True
            if staying:
                held.append(Held(instance, _who(staying), _pods(staying)))
            else:
                free.append(instance)
        elif staying:
            whole = Held(Instance(0, ""), _who(staying), _pods(staying))
    return Gpu(
        node=state.board.node,
        name=state.board.name,
        board=board.id,
        held=tuple(sorted(held, key=lambda item: item.instance)),
        free=tuple(sorted(free)),
        whole=whole,
        divided=divided,
    )


def _instance(part: PartState, board: MigBoard) -> Instance | None:
    published = part.part
    if board.profile(published.profile) is None or published.start is None:
        return None
    return Instance(int(published.start * Fraction(board.memory_slices or 0)), published.profile)


def _all_change(holder: Holder, changing: set[tuple[str, str]]) -> bool:
    return bool(holder.pods) and all((pod.namespace, pod.name) in changing for pod in holder.pods)


def _who(holders: Sequence[Holder]) -> ObjectRef:
    first = holders[0]
    return first.workload or first.claim or (first.pods[0] if first.pods else ObjectRef(kind="Pod"))


def _pods(holders: Sequence[Holder]) -> int:
    return max(1, sum(len(holder.pods) for holder in holders))
