"""`python -m bench.write_path`: the ways to store a flush, side by side, each an experiment."""
