"""What the admission policy reads: the models that may run, as lines of a ConfigMap (policy-models.yaml).

`lines` is the one place where a model becomes that text; what the lines mean stands in the policy's file.
"""

from collections.abc import Iterable, Iterator, Mapping

from aliquot.approvals.model import ApprovedModel

NAME = "aliquot-models"
"""Name of the ConfigMap, in Aliquot's namespace."""


def roster(models: Iterable[ApprovedModel]) -> dict[str, str]:
    """The ConfigMap's data for these models. What may not run is not in it: revoking takes the key away."""
    return {
        model.name: "\n" + "".join(f"{line}\n" for line in lines(model))
        for model in sorted(models, key=lambda model: model.name)
        if model.usable
    }


def lines(model: ApprovedModel) -> Iterator[str]:
    """The lines of one model, without line ends.

    A Hugging Face repository is pinned by `--revision` beside its name (`source`), or by the commit behind a
    colon, as KServe writes it (`exact`); an OCI artefact by its digest alone. Where there is nothing to pin
    by in a workload (s3://, pvc://, file://), the URI itself has to be a place that only its owner writes.
    """
    weights = model.weights
    yield f"state {model.state}"
    if weights.source.startswith("hf://") and weights.revision:
        yield f"source {weights.source}"
        yield f"exact {weights.source}:{weights.revision}"
        yield f"revision {weights.revision}"
    elif weights.source.startswith("oci://") and weights.digest:
        yield f"exact {weights.source}@{weights.digest}"
    else:
        yield f"exact {weights.source}"
    for adapter in weights.adapters:
        yield f"exact {adapter}"
    for namespace in model.run.namespaces:
        yield f"namespace {namespace}"
    yield f"isolation {model.needs.isolation}"


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """A merge patch for the data of the ConfigMap: None takes a key away; empty if nothing is to do."""
    patch: dict[str, str | None] = {name: None for name in before if name not in after}
    patch |= {name: text for name, text in after.items() if before.get(name) != text}
    return patch
