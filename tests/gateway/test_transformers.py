"""The official client through the gateway to Hugging Face transformers' own server, with a model made here.

ALIQUOT_TRANSFORMERS names the Python of an environment that has torch and transformers[serving].
"""

import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI
from tests.gateway.conftest import Start
from tests.gateway.upstream import Server

from aliquot.budgets.spending import Basis, Outcome

MAKE = """
import sys, torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
text = ["an aliquot is an exact part of a whole, and a budget holds what a call may cost."] * 20
alphabet = pre_tokenizers.ByteLevel.alphabet()
tokenizer.train_from_iterator(
    text, trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
)
fast = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
)
fast.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\\n{% endfor %}assistant: "
torch.manual_seed(0)
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=2048, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )
)
model.save_pretrained(sys.argv[1])
fast.save_pretrained(sys.argv[1])
"""


@pytest.fixture(scope="module")
def transformers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of the server, and the name of its model."""
    python = os.environ.get("ALIQUOT_TRANSFORMERS", "")
    if not python:
        pytest.skip("ALIQUOT_TRANSFORMERS names no environment with torch and transformers[serving]")
    folder = tmp_path_factory.mktemp("transformers")
    model = folder / "model"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    subprocess.run([python, "-c", MAKE, str(model)], check=True, capture_output=True, env=environment)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(python).with_name("transformers")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
            stdout=log,
            stderr=log,
            env=environment,
        )
        try:
            for _ in range(300):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                        break
                except OSError:
                    assert process.poll() is None, (folder / "log").read_text()
                    try:
                        process.wait(0.2)
                    except subprocess.TimeoutExpired:
                        continue
            yield f"http://127.0.0.1:{port}/v1", str(model)
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_those_that_transformers_counts(
    start: Start, upstream: Server, transformers: tuple[str, str], stream: bool
) -> None:
    url, model = transformers
    real = {"name": "real", "url": url, "kind": "openai", "models": {"tiny": model}, "healthPath": ""}
    async with (
        start(upstreams=[real], models=[{"name": "tiny"}]) as running,
        AsyncOpenAI(base_url=running.url, api_key=running.key, timeout=60) as client,
    ):
        messages = [{"role": "user", "content": "what is an aliquot?"}]
        if stream:
            text = ""
            async for chunk in await client.chat.completions.create(
                model="tiny", messages=messages, max_tokens=12, stream=True
            ):
                text += chunk.choices[0].delta.content or ""
        else:
            answer = await client.chat.completions.create(model="tiny", messages=messages, max_tokens=12)
            text = answer.choices[0].message.content or ""
        (use,) = await running.settled(1)

    assert text
    assert (use.output_tokens, use.basis, use.outcome) == (12, Basis.MEASURED, Outcome.COMPLETED)
    assert 0 < use.input_tokens < 40
