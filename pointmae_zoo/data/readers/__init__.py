"""One file per family of formats: `read_...(path, data) -> Geometry`. `data.mesh` chooses among them."""
