"""The two searches that torch is slow at on a CPU, as numba loops."""
