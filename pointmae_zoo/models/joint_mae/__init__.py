"""Joint-MAE (IJCAI 2023, arXiv 2302.14007): pre-training on masked points and their masked depth images."""
