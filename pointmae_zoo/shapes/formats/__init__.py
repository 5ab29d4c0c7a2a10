"""One file per family of formats: `read_...(path, data) -> Geometry`. `shapes.read` chooses among them."""
