"""What went wrong, from a manager's answer or a session's log, with what to do next."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from docflow.deploy.backendai.hub import no_access
from docflow.errors import CredentialsError, DeployError, ModelAccessError, ResourcesError

LIST = "docflow deploy sessions list"
KILL = "docflow deploy sessions kill NAME"

_QUOTA_HINT = (
    f"Ask for fewer GPUs (--gpu-count) or less memory, or end sessions that wait or idle: {LIST}, then {KILL}."
)
_GPU_HINT = (
    "That is the GPUs' memory, not --memory: deploy a quantised repository, "
    "lower --max-model-len, or raise --gpu-count."
)
_Make = Callable[[str, str], DeployError]

_IN_LOGS: tuple[tuple[re.Pattern[str], _Make], ...] = (
    (
        re.compile(
            r"Repository ?Not ?Found|gated repo|401 Client Error|403 Client Error|not a valid model identifier", re.I
        ),
        lambda model, _: no_access(model, token_given=False),
    ),
    (
        re.compile(
            r"CUDA out of memory|CUDA error: out of memory|No available memory for the cache blocks|"
            r"larger than the (maximum|available) number of tokens|less than desired GPU memory|"
            r"KV cache is needed, which is larger",
            re.I,
        ),
        lambda model, said: ResourcesError(f"Out of GPU memory while {model} loaded: {said}", hint=_GPU_HINT),
    ),
    (
        re.compile(r"\bOOM.?Killed|MemoryError|Cannot allocate memory|exit code:? 137|oom-kill|\bKilled\b"),
        lambda model, said: ResourcesError(
            f"Out of memory while {model} loaded: {said}",
            hint="That is the main memory: raise --memory (for example to 32g), or deploy a quantised repository.",
        ),
    ),
    (
        re.compile(r"Cannot find the config file for \w+|not a quantized model|Quantization method specified in", re.I),
        lambda model, said: DeployError(
            f"{model} is not quantised as --quantization says: {said}",
            hint="Deploy a repository that is quantised so, or leave --quantization out.",
        ),
    ),
    (
        re.compile(r"max_model_len .*greater than the derived", re.I),
        lambda model, said: DeployError(
            f"{model} does not take so many tokens: {said}", hint="Lower --max-model-len, or leave it out."
        ),
    ),
    (
        re.compile(r"is not supported for now|model architectures? .* (is|are) not supported", re.I),
        lambda model, said: DeployError(
            f"vLLM does not load {model}: {said}", hint="Take a newer --image, or another model."
        ),
    ),
    (
        re.compile(r"No such file or directory: '?vllm|vllm: (command )?not found", re.I),
        lambda model, _: DeployError(
            "the image has no vLLM in it",
            hint="Name one that has by --image; backend.ai image list shows the cluster's.",
        ),
    ),
    (
        re.compile(r"CUDA driver|no NVIDIA driver|No CUDA GPUs are available|Failed to infer device type", re.I),
        lambda model, said: ResourcesError(
            f"the session found no GPU that it can use: {said}", hint="Take another --image, or ask the administrator."
        ),
    ),
)


def of_log(log: str, model: str, *, token_given: bool) -> DeployError | None:
    """The reason why a server died, where its log tells it. The last of several is usually only what followed."""
    for line in log.splitlines():
        for pattern, make in _IN_LOGS:
            if pattern.search(line):
                error = make(model, line.strip()[:200])
                return no_access(model, token_given) if isinstance(error, ModelAccessError) else error
    return None


def of_answer(status: int, body: Any, doing: str) -> DeployError:
    """The error for an answer of the manager that is none of the good ones."""
    problem = body if isinstance(body, dict) else {}
    kind = str(problem.get("type", "")).rstrip("/").rpartition("/")[2]
    said = "; ".join(dict.fromkeys(str(problem[key])[:300] for key in ("title", "msg", "detail") if problem.get(key)))
    said = said or f"HTTP {status}"
    if re.search(r"date/time sync|clock", said, re.I):
        return CredentialsError(
            f"the manager refuses the request for its date: {said}",
            hint="This machine's clock is more than 15 minutes off the manager's: set it (timedatectl), and try again.",
        )
    if status == 401 or "auth" in kind:
        return CredentialsError(
            f"the manager refuses the keys: {said}",
            hint="Check BACKEND_AI_ACCESS_KEY and BACKEND_AI_SECRET_KEY; a proxy that changes the Host header breaks "
            "signatures as well.",
        )
    if status == 403:
        return CredentialsError(f"these keys may not do that: {said}", hint="Ask the cluster's administrator.")
    if status in (406, 412) or "quota" in kind or ("limit" in kind and status != 429):
        return ResourcesError(f"Insufficient GPU resources, or a limit of yours: {said}", hint=_QUOTA_HINT)
    if "resource slot" in said.lower():
        return DeployError(
            f"the cluster calls its GPUs otherwise: {said}",
            hint="Name its slot by --gpu-slot: cuda.shares where GPUs are shared out in parts.",
        )
    if status == 409 or "already-exists" in kind or re.search(r"session.*already exists", said, re.I):
        return DeployError(
            f"the session's name is in use: {said}", hint=f"Take another --session-name, or end that one: {KILL}."
        )
    if "image" in kind or (re.search(r"image", said, re.I) and status in (400, 404)):
        return DeployError(
            f"the cluster does not have the image: {said}",
            hint="Name one of its vLLM images by --image or BACKEND_AI_IMAGE; backend.ai image list shows them.",
        )
    if status == 404:
        return DeployError(f"{doing}: there is no such session", hint=f"{LIST} shows those that there are.")
    if status == 429:
        return DeployError(f"{doing}: the manager is asked too often", hint="Wait a minute.", retryable=True)
    return DeployError(f"{doing}: {said} (HTTP {status})", retryable=status >= 500)


def pending_hint(name: str) -> str:
    """What to do about a session that waits for room."""
    return f"It waits on: docflow deploy sessions kill {name} ends it. {_QUOTA_HINT}"
