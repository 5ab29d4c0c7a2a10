"""The point operations on a GPU, as Triton kernels."""
