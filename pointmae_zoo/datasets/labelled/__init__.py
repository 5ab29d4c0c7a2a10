"""Clouds with classes or part labels: files, folders and benchmarks."""
