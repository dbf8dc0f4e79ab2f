"""Exporters read directly, in Prometheus' text format (also what OpenMetrics and Prometheus share).

The parser is prometheus_client's. The size of the body was bounded when it was fetched; here the number of
samples, and lengths of labels, are.
"""

from prometheus_client.parser import text_string_to_metric_families

from aliquot.telemetry.endpoint import Source
from aliquot.telemetry.errors import SourceError
from aliquot.telemetry.raw import RawSeries
from aliquot.telemetry.vocabulary import Vocabulary

MOST_BODY_BYTES = 16 << 20
MOST_SAMPLES = 500_000
MOST_LABELS = 64
MOST_LABEL_LENGTH = 4096
ACCEPT = "text/plain;version=0.0.4;q=1,*/*;q=0.1"


def parse(body: bytes, source: str, time: int, vocabulary: Vocabulary) -> tuple[RawSeries, ...]:
    """The series of an answer that mean something. time: of samples that name none, ms since 1970.

    Raises SourceError for what is not in the format or beyond the bounds.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise SourceError(
            source, "does not answer with text", "is this the address of an exporter?"
        ) from None
    found: list[RawSeries] = []
    count = 0
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                count += 1
                if count > MOST_SAMPLES:
                    raise SourceError(
                        source, f"has more than {MOST_SAMPLES} samples", "read it through a Prometheus"
                    )
                if vocabulary.term(sample.name) is None:
                    continue
                labels = sample.labels
                if len(labels) > MOST_LABELS or any(
                    len(value) > MOST_LABEL_LENGTH for value in labels.values()
                ):
                    raise SourceError(
                        source, f"has too many or too long labels at {sample.name}", "check the exporter"
                    )
                # prometheus_client gives times in seconds; the format has milliseconds.
                when = time if sample.timestamp is None else round(float(sample.timestamp) * 1000)
                found.append(RawSeries(sample.name, labels, source, [when], [float(sample.value)]))
    except SourceError:
        raise
    except Exception as error:
        # The parser promises no type of exception: it indexes, converts and compares as it goes.
        raise SourceError(
            source, f"is not in Prometheus' text format: {str(error)[:200]}", "is this an exporter's address?"
        ) from None
    return tuple(found)


async def scrape(source: Source, time: int, vocabulary: Vocabulary) -> tuple[RawSeries, ...]:
    """One look at an exporter. Raises SourceError."""
    body = await source.get(accept=ACCEPT)
    return parse(body, source.endpoint.name, time, vocabulary)
