"""Clouds for training and evaluation: files, folders, benchmarks, caches, augmentation, splits."""
