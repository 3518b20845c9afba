"""What operators see: metrics, health, log lines. Every name lives here, once.

`metrics` the Prometheus families · `health` what each partition is doing, for /readyz and
`doctor` · `logs` the structured log lines.
"""
