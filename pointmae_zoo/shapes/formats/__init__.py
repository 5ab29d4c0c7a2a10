"""One file per family of formats: `read_...(data) -> Geometry`. `shapes.read` chooses among them."""
