"""The least that FastAPI and httpx need to pass a request on: what a relay costs that does nothing else."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response


def app(upstream: str) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=upstream) as client:
            app.state.client = client
            yield

    relay = FastAPI(lifespan=lifespan)

    @relay.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        answer = await relay.state.client.post(
            "/v1/chat/completions", content=await request.body(), headers={"content-type": "application/json"}
        )
        return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])

    return relay


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    given = parser.parse_args()
    uvicorn.run(app(given.upstream), port=given.port, log_config=None, access_log=False)
