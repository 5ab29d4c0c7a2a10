"""What several test files share: meshes and benchmarks made by hand, a server that fails."""
