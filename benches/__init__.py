"""The benchmarks: `make bench` runs all of them and writes docs/reference/benchmarks.md."""
