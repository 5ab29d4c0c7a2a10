"""Speed of the package against plain formulations: ``python -m benchmarks`` prints one table."""
