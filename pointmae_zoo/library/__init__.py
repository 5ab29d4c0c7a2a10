"""What people do with the features of many shapes: search, and finding duplicates."""

from pointmae_zoo.library.duplicate_report import DuplicateReport
from pointmae_zoo.library.duplicates import find_duplicates
from pointmae_zoo.library.search import similar

__all__ = ["DuplicateReport", "find_duplicates", "similar"]
