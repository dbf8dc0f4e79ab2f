"""What a verdict says, in words: what is wrong, then what to do about it."""

from aliquot.approvals.verdict import Purpose, Reason, Verdict


def sentence(verdict: Verdict) -> str:
    """One sentence for an error body, a warning or the command line."""
    asked, model = verdict.asked, verdict.model
    name = f"{asked!r}" if model is None or model.name == asked else f"{asked!r} ({model.name})"
    verb = "called" if verdict.purpose is Purpose.CALL else "run"
    match verdict.reason:
        case Reason.APPROVED:
            return f"model {name} is approved"
        case Reason.UNKNOWN:
            return f"no approved model is called {asked!r}; propose it (aliquot models propose)"
        case Reason.PROPOSED:
            return (
                f"model {name} is proposed, but not approved; its owner or an administrator has to approve it"
            )
    assert model is not None
    instead = f"; use {model.replaced_by!r} instead" if model.replaced_by else ""
    match verdict.reason:
        case Reason.DEPRECATED:
            return f"model {name} is deprecated{instead}"
        case Reason.REVOKED:
            why = f": {model.decision.reason}" if model.decision and model.decision.reason else ""
            return f"model {name} is revoked{why}{instead}"
        case Reason.NAMESPACE:
            place = f"namespace {verdict.namespace!r}" if verdict.namespace else "outside of a namespace"
            return f"model {name} may not be {verb} from {place}; its owner {model.owner!r} decides who may"
        case _:
            place = f"queue {verdict.queue!r}" if verdict.queue else "without a queue"
            return (
                f"model {name} may not be {verb} through {place}; its owner {model.owner!r} decides who may"
            )
