"""What goes wrong, when and for whom: drawn from a seed, data only."""

import enum
import random
from dataclasses import dataclass, field


class Trouble(enum.Enum):
    """What happens to one request.

    CONFLICT, GONE, BUSY, BROKEN, UNAVAILABLE: it is answered with 409, 410, 429 (Retry-After), 500, 503, and
    the server never sees it. LOST: it is carried out, the answer is lost. CUT: it is carried out, the answer
    breaks off. REFUSED: no connection. LATE: whoever asked gives up, and later it is carried out all the
    same. TWICE: it is carried out twice, and the second answer counts. SLOW: it is held up on the way there.
    """

    CONFLICT = "409"
    GONE = "410"
    BUSY = "429"
    BROKEN = "500"
    UNAVAILABLE = "503"
    LOST = "answer lost"
    CUT = "answer cut"
    REFUSED = "no connection"
    LATE = "carried out late"
    TWICE = "carried out twice"
    SLOW = "slow"


class WatchTrouble(enum.Enum):
    """What happens to one watch. LAGGING: everything on it comes late."""

    GONE = "410"
    BUSY = "429"
    BROKEN = "500"
    GONE_EVENT = "410 as an event"
    GARBAGE = "nonsense"
    REPEATED = "each line twice"
    BREAKS = "breaks off"
    TORN = "breaks off within a line"
    LAGGING = "late"


class Blow(enum.Enum):
    """What happens to the cluster at some moment, besides to requests."""

    RESTART = "the API server is away for a while and has forgotten its history"
    ISOLATE = "one replica reaches nobody for a while; requests under way may arrive late"
    THROTTLE = "the API server puts everybody off for a while"
    COMPACT = "all history is forgotten and every watch breaks"
    CLOCK = "one replica's wall clock jumps"
    KILL = "one replica dies and starts anew"
    SLICE_GONE = "a node's slice vanishes and comes back later"
    SLICE_NEW = (
        "a node's driver is upgraded: another generation, first incomplete, with a device less or more"
    )
    NODE_LOST = "a node goes away and comes back later"
    CORDON = "a node takes no pods for a while"
    NODE_SHORT = "the node of the next pod that is let go is found to have no CPU left, for long"
    CLAIM_DELETED = "somebody deletes a claim"
    POD_DELETED = "somebody deletes a pod"
    CONTROL_PLANE = "scheduler, controllers and kubelets stand still for a while"


@dataclass(frozen=True)
class Happening:
    """A blow at a time. length: for how many seconds, where it lasts. which: the number of what it hits."""

    at: float
    blow: Blow
    length: float
    which: int


@dataclass(frozen=True)
class Schedule:
    """The troubles of one run. rate: of requests. lag: seconds of a lagging watch. until: when all of it
    ends. arrivals: when new work comes.
    """

    seed: int
    rate: float
    lag: float
    until: float
    happenings: tuple[Happening, ...] = ()
    arrivals: tuple[float, ...] = ()
    troubles: tuple[Trouble, ...] = field(default=tuple(Trouble))
    watch_troubles: tuple[WatchTrouble, ...] = field(default=tuple(WatchTrouble))

    def request(self, replica: int, number: int) -> tuple[Trouble | None, float]:
        """What happens to a replica's request of this number, and a part between 0 and 1 to make use of."""
        chance = random.Random(f"{self.seed}/{replica}/{number}")
        if chance.random() >= self.rate:
            return None, 0.0
        return chance.choice(self.troubles), chance.random()

    def watch(self, replica: int, number: int) -> tuple[WatchTrouble | None, float]:
        chance = random.Random(f"{self.seed}/{replica}/watch/{number}")
        if chance.random() >= min(0.5, 2 * self.rate):
            return None, 0.0
        return chance.choice(self.watch_troubles), chance.random()


def drawn(seed: int) -> Schedule:
    """The schedule of a seed: every mixture of few and many troubles comes up."""
    chance = random.Random(f"schedule {seed}")
    until = chance.uniform(15.0, 40.0)
    happenings = sorted(
        (
            Happening(
                at=chance.uniform(0.5, until - 1.0),
                blow=chance.choice(tuple(Blow)),
                length=chance.uniform(0.5, 12.0),
                which=chance.randrange(1000),
            )
            for _ in range(chance.choice((0, 1, 2, 3, 5, 8)))
        ),
        key=lambda item: item.at,
    )
    return Schedule(
        seed=seed,
        rate=chance.choice((0.0, 0.02, 0.1, 0.3)),
        lag=chance.choice((0.1, 1.0, 5.0)),
        until=until,
        happenings=tuple(happenings),
        arrivals=tuple(sorted(chance.uniform(0.0, until * 0.8) for _ in range(chance.randint(3, 8)))),
    )
