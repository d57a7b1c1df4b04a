"""What stands in for vLLM in these tests: a server that speaks the protocol of TRL's VLLMClient, and an `LLM`.

Both are backed by a tiny Llama that really samples, the way vLLM does (a generator a row, made from the row's seed;
`argmax(p / Exp(1))`), with a full forward pass a token, and that really receives the weights. The bytes of the
weights travel over a loopback socket: `trainer_init` and `packed_broadcast` replace the two names that TRL imports
from vLLM's NCCL engine. As there, the trainer waits until the server takes part, for ever if it does not, and a
tensor is read only when its buffer is packed, after later tensors were made.

What this does not prove: that NCCL transfers the weights, that vLLM's model loader accepts their names and types (it
fuses q, k and v, for one), that vLLM's kernels give the log-probabilities of Transformers' (they do not, exactly),
and that a real server of some version still speaks the protocol as TRL's source has it.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

LOOPBACK = "127.0.0.1"
BUFFER_BYTES = 4096  # several tensors in one, and several of them for a tiny Llama


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class TrainerEnd:
    """The trainer's connection. TRL leaves the group by setting these two to None."""

    store = None

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    @property
    def socket(self) -> socket.socket:
        return self.connection

    @socket.setter
    def socket(self, value: None) -> None:
        self.connection.close()


def trainer_init(init_info: dict[str, Any]) -> SimpleNamespace:
    """The trainer's end of the weight transfer: waits for the server, like a rendezvous, without a limit."""
    listener = socket.create_server((init_info["master_address"], init_info["master_port"]))
    assert init_info["world_size"] == 2
    assert init_info["packed"] is True
    connection, _ = listener.accept()
    listener.close()
    return SimpleNamespace(group=TrainerEnd(connection))


def packed_broadcast(
    iterator: Iterator[tuple[str, Tensor]],
    group: SimpleNamespace,
    src: int,
    post_iter_func: Callable[[tuple[str, Tensor]], Tensor],
) -> None:
    """Sends all tensors in buffers; waits for each to be received, like a collective, without a limit."""
    assert src == 0
    waiting: list[Tensor] = []
    for item in iterator:
        waiting.append(post_iter_func(item).contiguous().view(-1).view(torch.uint8))
        if sum(map(len, waiting)) > BUFFER_BYTES:
            _send(group, waiting)
            waiting = []
    if waiting:
        _send(group, waiting)


def _send(group: SimpleNamespace, tensors: list[Tensor]) -> None:
    data = bytes(torch.cat(tensors).tolist())
    group.group.socket.sendall(struct.pack("!Q", len(data)) + data)
    if group.group.socket.recv(1) != b"k":
        raise ConnectionError("the server left the group")


def _receive(connection: socket.socket, update_info: dict[str, Any]) -> dict[str, Tensor]:
    kinds = [getattr(torch, name) for name in update_info["dtype_names"]]
    elements = [torch.Size(shape).numel() for shape in update_info["shapes"]]
    sizes = [n * kind.itemsize for n, kind in zip(elements, kinds, strict=True)]
    data = b""
    while len(data) < sum(sizes):
        (size,) = struct.unpack("!Q", _exactly(connection, 8))
        data += _exactly(connection, size)
        connection.sendall(b"k")
    parts = torch.frombuffer(bytearray(data), dtype=torch.uint8).split(sizes)
    return {
        name: part.clone().view(kind).view(shape)
        for name, part, kind, shape in zip(update_info["names"], parts, kinds, update_info["shapes"], strict=True)
    }


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the trainer left the group")
        data += part
    return data


@dataclass
class SamplingParams:
    """The fields of vLLM's that are used here, refusing all others."""

    seed: int | None = None
    temperature: float = 1.0
    max_tokens: int = 16
    logprobs: int | None = None
    stop_token_ids: list[int] = field(default_factory=list)
    ignore_eos: bool = False
    n: int = 1
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def clone(self) -> SamplingParams:
        return replace(self)


@torch.no_grad()
def continue_prompt(model: nn.Module, prompt: list[int], params: SamplingParams) -> tuple[list[int], list[float]]:
    """New tokens and their log-probabilities at the sampling temperature (vLLM's processed_logprobs)."""
    assert (params.n, params.top_p, params.top_k, params.min_p, params.repetition_penalty) == (1, 1.0, 0, 0.0, 1.0)
    assert params.ignore_eos  # else the EOS of the model's own generation_config.json ends rows too
    assert params.seed is not None
    generator = torch.Generator().manual_seed(params.seed)
    tokens: list[int] = []
    logprobs: list[float] = []
    while len(tokens) < params.max_tokens and (not tokens or tokens[-1] not in params.stop_token_ids):
        logits = model(input_ids=torch.tensor([prompt + tokens])).logits[0, -1] / params.temperature
        noise = torch.empty_like(logits).exponential_(generator=generator)
        tokens.append(int((logits.softmax(-1) / noise).argmax()))
        logprobs.append(float(logits.log_softmax(-1)[tokens[-1]]))
    return tokens, logprobs


def load_exactly(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Loads all parameters of the model, by name; tied ones come once."""
    own = dict(model.named_parameters())
    assert set(weights) == set(own), set(weights) ^ set(own)
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)


class StandIn:
    """The server. `faults` maps a path to what goes wrong there: hang, trickle, die, garbage, or an HTTP status."""

    def __init__(self, model: nn.Module, logprobs_mode: str = "processed_logprobs") -> None:
        self.model, self.logprobs_mode, self.max_model_len = model, logprobs_mode, 200
        self.faults: dict[str, str] = {}
        self.edit: Callable[[dict[str, Any]], object] = lambda choice: None  # made to each choice before it is sent
        self.hang: Callable[[Any], bool] = lambda body: False  # of a request for completions
        self.requests: list[tuple[str, Any]] = []
        self.peers: set[str] = set()
        self.connections: set[str | None] = set()  # what requests said of keeping them
        self.released = threading.Event()
        self.updating = False
        self.lock = threading.Lock()
        self.group: socket.socket | None = None
        handler = type("Handler", (_Handler,), {"stand_in": self})
        self.http = _HTTPServer((LOOPBACK, 0), handler)
        self.url = f"http://{LOOPBACK}:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for path, _ in self.requests]

    def stop(self) -> None:
        """Nobody listens any more; whatever hangs, ends."""
        self.released.set()
        self.http.shutdown()
        self.http.server_close()
        if self.group is not None:
            self.group.close()

    def answer(self, path: str, body: Any) -> Any:
        """The JSON that a request gets; _BadRequestError for what vLLM would refuse."""
        plain = {
            "/health": {},
            "/v1/models": {"data": [{"id": "tiny"}]},
            "/get_world_size": {"world_size": 1},
            "/reset_prefix_cache": {"success": True},
            "/server_info": {
                "vllm_config": {
                    "weight_transfer_config": {"backend": "nccl"},
                    "model_config": {"logprobs_mode": self.logprobs_mode},
                }
            },
        }
        if path in plain:
            return plain[path]
        if path == "/v1/completions":
            return {"choices": list(self._choices(body))}
        if path == "/init_weight_transfer_engine":
            self._join(body["init_info"])
        elif path == "/start_weight_update":
            if self.updating:
                raise _BadRequestError("a weight update is active already")
            self.updating = True
        elif path == "/update_weights":
            assert self.updating
            assert self.group is not None
            load_exactly(self.model, _receive(self.group, body["update_info"]))
        elif path == "/finish_weight_update":
            self.updating = False
        else:
            raise _BadRequestError(f"no such path: {path}")
        return {"message": "done"}

    def _join(self, init_info: dict[str, Any]) -> None:
        assert init_info["rank_offset"] == 1
        while self.group is None:
            try:
                self.group = socket.create_connection((init_info["master_address"], init_info["master_port"]))
            except ConnectionRefusedError:
                if self.released.wait(0.01):
                    raise

    def _choices(self, body: dict[str, Any]) -> Iterable[dict[str, Any]]:
        assert not self.updating
        body = dict(body)
        assert body.pop("model") == "tiny"
        assert body.pop("return_token_ids")
        assert body.pop("return_tokens_as_token_ids")
        prompts, params = body.pop("prompt"), SamplingParams(**body)
        assert params.logprobs == 0
        for index, prompt in enumerate(prompts):
            if len(prompt) + params.max_tokens > self.max_model_len:
                raise _BadRequestError(f"maximum context length is {self.max_model_len} tokens")
            tokens, logprobs = continue_prompt(self.model, prompt, params)
            names = [f"token_id:{token}" for token in tokens]
            choice = {
                "index": index,
                "prompt_token_ids": prompt,
                "token_ids": tokens,
                "logprobs": {
                    "tokens": names,
                    "token_logprobs": logprobs,
                    "top_logprobs": [{name: value} for name, value in zip(names, logprobs, strict=True)],
                },
                "finish_reason": "stop" if tokens[-1] in params.stop_token_ids else "length",
            }
            self.edit(choice)
            yield choice


class _BadRequestError(Exception):
    """vLLM would answer 400."""


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 2048  # uvicorn's


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._handle(None)

    def do_POST(self) -> None:
        self._handle(json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null"))

    def _handle(self, body: Any) -> None:
        stand_in, path = self.stand_in, self.path.partition("?")[0]
        stand_in.requests.append((path, body))
        stand_in.peers.add(self.client_address[0])
        stand_in.connections.add(self.headers.get("Connection"))
        fault = stand_in.faults.get(path)
        if path == "/v1/completions" and stand_in.hang(body):
            fault = "hang"
        if fault == "hang":
            stand_in.released.wait()
        elif fault == "die":
            stand_in.http.socket.close()
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "trickle":
            self._trickle()
        elif fault == "garbage":
            self._send(200, b"<html>502 Bad Gateway</html>")
        elif fault is not None:
            self._send(int(fault), b"CUDA out of memory")
        else:
            self._answer(path, body)

    def _answer(self, path: str, body: Any) -> None:
        try:
            with self.stand_in.lock if path == "/v1/completions" else threading.Lock():
                answer = self.stand_in.answer(path, body)
        except _BadRequestError as error:
            self._send(400, str(error).encode())
        except (AssertionError, OSError, TypeError) as error:
            self._send(500, f"{type(error).__name__}: {error}".encode())
        else:
            self._send(200, json.dumps(answer).encode())

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _trickle(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        try:
            while not self.stand_in.released.wait(0.05):
                self.wfile.write(b" ")
        except OSError:  # the client is gone
            pass


class LLM:
    """A colocated vLLM: the arguments that TRL starts it with, `generate`, and the way in for weights."""

    model: nn.Module  # set by the test
    pause: float = 0.0

    def __init__(self, **arguments: Any) -> None:
        self.arguments, self.loaded, self.resets = arguments, {}, 0
        self.params: list[SamplingParams] = []
        inner = SimpleNamespace(load_weights=self._load)
        worker = SimpleNamespace(model_runner=SimpleNamespace(model=inner))
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=worker))

    def _load(self, weights: list[tuple[str, Tensor]]) -> None:
        self.loaded.update({name: value.detach().clone() for name, value in weights})

    def reset_prefix_cache(self) -> None:
        self.resets += 1
        load_exactly(self.model, self.loaded)

    def generate(
        self, prompts: list[dict[str, list[int]]], sampling_params: list[SamplingParams], use_tqdm: bool
    ) -> list[SimpleNamespace]:
        assert use_tqdm is False
        time.sleep(self.pause)
        self.params = sampling_params
        outputs = []
        for prompt, params in zip(prompts, sampling_params, strict=True):
            tokens, logprobs = continue_prompt(self.model, prompt["prompt_token_ids"], params)
            said = [{t: SimpleNamespace(logprob=p, rank=3)} for t, p in zip(tokens, logprobs, strict=True)]
            row = SimpleNamespace(token_ids=tokens, logprobs=said)
            outputs.append(SimpleNamespace(prompt_token_ids=prompt["prompt_token_ids"], outputs=[row]))
        return outputs
