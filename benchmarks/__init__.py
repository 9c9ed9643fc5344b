"""Speed, measured: `python -m benchmarks.throughput`, `.peers` and `.startup`.

Every figure comes from a process of its own, and every comparison is interleaved
(A B A B ...), so that a busy machine slows both sides alike. Modules that the peers'
environment runs too (`workers`, `jobs`, `programs`, `rejax_*`) import nothing of
purejaxppo.
"""
