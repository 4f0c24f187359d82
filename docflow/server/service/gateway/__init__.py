"""The gateway: OpenAI-compatible requests, sent on to whichever upstream can answer them."""
