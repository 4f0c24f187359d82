"""vLLM servers in Backend.AI sessions: a plan checked before anything is sent, its life cycle, and the sessions."""
