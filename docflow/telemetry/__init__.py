"""What is told of the work to those who look after it: Prometheus metrics, JSON log lines, traces, GPU figures."""
