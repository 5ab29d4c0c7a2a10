"""Farthest point sampling and neighbour search on a CPU with numba, much faster than in torch."""
