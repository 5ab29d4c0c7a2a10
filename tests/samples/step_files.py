"""STEP files written by hand: a box in any unit, or its edges alone."""

from collections.abc import Sequence

_CORNERS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
_FACES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]


def box_step(extents: Sequence[float], unit: str = "mm", *, solid: bool = True) -> bytes:
    """A box from the origin on, with these sides in the file's unit (mm, m or inch); or without ``solid``
    three of its edges, which are no surface."""
    lines: list[str] = []

    def add(text: str) -> str:
        lines.append(f"#{len(lines) + 1}={text};")
        return f"#{len(lines)}"

    def place(values: Sequence[float]) -> str:
        return "({})".format(",".join(str(float(value)) for value in values))

    milli = add("(LENGTH_UNIT()NAMED_UNIT(*)SI_UNIT(.MILLI.,.METRE.))")
    length = milli
    if unit == "m":
        length = add("(LENGTH_UNIT()NAMED_UNIT(*)SI_UNIT($,.METRE.))")
    if unit == "inch":
        measure = add(f"LENGTH_MEASURE_WITH_UNIT(LENGTH_MEASURE(25.4),{milli})")
        powers = add("DIMENSIONAL_EXPONENTS(1.,0.,0.,0.,0.,0.,0.)")
        length = add(f"(CONVERSION_BASED_UNIT('INCH',{measure})LENGTH_UNIT()NAMED_UNIT({powers}))")
    angle = add("(NAMED_UNIT(*)PLANE_ANGLE_UNIT()SI_UNIT($,.RADIAN.))")
    solid_angle = add("(NAMED_UNIT(*)SI_UNIT($,.STERADIAN.)SOLID_ANGLE_UNIT())")
    exact = add(
        f"UNCERTAINTY_MEASURE_WITH_UNIT(LENGTH_MEASURE(1.E-07),{length},'distance_accuracy_value','')"
    )
    context = add(
        f"(GEOMETRIC_REPRESENTATION_CONTEXT(3)GLOBAL_UNCERTAINTY_ASSIGNED_CONTEXT(({exact}))"
        f"GLOBAL_UNIT_ASSIGNED_CONTEXT(({length},{angle},{solid_angle}))REPRESENTATION_CONTEXT('',''))"
    )
    corners = [[one * side for one, side in zip(corner, extents, strict=True)] for corner in _CORNERS]
    points = [add(f"CARTESIAN_POINT('',{place(corner)})") for corner in corners]
    origin = add("CARTESIAN_POINT('',(0.,0.,0.))")
    up, along = add("DIRECTION('',(0.,0.,1.))"), add("DIRECTION('',(1.,0.,0.))")
    axes = add(f"AXIS2_PLACEMENT_3D('',{origin},{up},{along})")

    def line(first: int, last: int) -> str:
        way = [q - p for p, q in zip(corners[first], corners[last], strict=True)]
        direction = add(f"DIRECTION('',{place(way)})")
        vector = add(f"VECTOR('',{direction},{float(sum(map(abs, way)))})")
        return add(f"LINE('',{points[first]},{vector})")

    if solid:
        vertices = [add(f"VERTEX_POINT('',{point})") for point in points]
        edges: dict[tuple[int, int], str] = {}
        faces = []
        for face in _FACES:
            turns = []
            for first, last in zip(face, (*face[1:], face[0]), strict=True):
                low, high = min(first, last), max(first, last)
                if (low, high) not in edges:
                    edges[low, high] = add(
                        f"EDGE_CURVE('',{vertices[low]},{vertices[high]},{line(low, high)},.T.)"
                    )
                way = ".T." if first < last else ".F."
                turns.append(add(f"ORIENTED_EDGE('',*,*,{edges[low, high]},{way})"))
            loop = add(f"EDGE_LOOP('',({','.join(turns)}))")
            bound = add(f"FACE_OUTER_BOUND('',{loop},.T.)")
            a, b, c = (corners[one] for one in face[:3])
            u, v = [q - p for p, q in zip(a, b, strict=True)], [q - p for p, q in zip(b, c, strict=True)]
            normal = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
            outwards, side = (add(f"DIRECTION('',{place(one)})") for one in (normal, u))
            there = add(f"AXIS2_PLACEMENT_3D('',{points[face[0]]},{outwards},{side})")
            plane = add(f"PLANE('',{there})")
            faces.append(add(f"ADVANCED_FACE('',({bound}),{plane},.T.)"))
        shell = add(f"CLOSED_SHELL('',({','.join(faces)}))")
        brep = add(f"MANIFOLD_SOLID_BREP('',{shell})")
        shape = add(f"ADVANCED_BREP_SHAPE_REPRESENTATION('',({axes},{brep}),{context})")
    else:
        some = ",".join(line(0, other) for other in (1, 2, 4))
        curves = add(f"GEOMETRIC_CURVE_SET('',({some}))")
        shape = add(f"GEOMETRICALLY_BOUNDED_WIREFRAME_SHAPE_REPRESENTATION('',({axes},{curves}),{context})")
    application = add("APPLICATION_CONTEXT('automotive design')")
    add(f"APPLICATION_PROTOCOL_DEFINITION('','automotive_design',2000,{application})")
    product_context = add(f"PRODUCT_CONTEXT('',{application},'mechanical')")
    product = add(f"PRODUCT('box','box','',({product_context}))")
    formation = add(f"PRODUCT_DEFINITION_FORMATION('','',{product})")
    definition_context = add(f"PRODUCT_DEFINITION_CONTEXT('part definition',{application},'design')")
    definition = add(f"PRODUCT_DEFINITION('design','',{formation},{definition_context})")
    defined = add(f"PRODUCT_DEFINITION_SHAPE('','',{definition})")
    add(f"SHAPE_DEFINITION_REPRESENTATION({defined},{shape})")
    header = (
        "ISO-10303-21;\nHEADER;\nFILE_DESCRIPTION((''),'2;1');\nFILE_NAME('box','',(''),(''),'','','');\n"
        "FILE_SCHEMA(('AUTOMOTIVE_DESIGN { 1 0 10303 214 1 1 1 1 }'));\nENDSEC;\nDATA;\n"
    )
    return (header + "\n".join(lines) + "\nENDSEC;\nEND-ISO-10303-21;\n").encode()
