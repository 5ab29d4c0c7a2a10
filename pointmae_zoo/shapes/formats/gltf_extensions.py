"""The extensions of glTF that a file may require: those that are read, and those without geometry."""

from pointmae_zoo.shapes.surface import MeshError

DRACO = "KHR_draco_mesh_compression"
INSTANCING = "EXT_mesh_gpu_instancing"
VISIBILITY = "KHR_node_visibility"
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
READ = frozenset({DRACO, INSTANCING, VISIBILITY, "KHR_mesh_quantization"})
HARMLESS = frozenset(
    {
        # materials
        "ADOBE_materials_clearcoat_specular",
        "ADOBE_materials_clearcoat_tint",
        "ADOBE_materials_thin_transparency",
        "FB_material_variants",
        "KHR_materials_anisotropy",
        "KHR_materials_clearcoat",
        "KHR_materials_common",
        "KHR_materials_diffuse_transmission",
        "KHR_materials_dispersion",
        "KHR_materials_emissive_strength",
        "KHR_materials_ior",
        "KHR_materials_iridescence",
        "KHR_materials_pbrSpecularGlossiness",
        "KHR_materials_sheen",
        "KHR_materials_specular",
        "KHR_materials_transmission",
        "KHR_materials_unlit",
        "KHR_materials_variants",
        "KHR_materials_volume",
        "KHR_materials_volume_scatter",
        "KHR_technique_webgl",
        "KHR_techniques_webgl",
        "MOZ_alt_materials",
        "MOZ_lightmap",
        "VRMC_materials_mtoon",
        # textures
        "EXT_texture_astc",
        "EXT_texture_avif",
        "EXT_texture_webp",
        "KHR_texture_basisu",
        "KHR_texture_transform",
        "MSFT_packing_normalRoughnessMetallic",
        "MSFT_packing_occlusionRoughnessMetallic",
        "MSFT_texture_dds",
        # lights and sound
        "EXT_lights_ies",
        "EXT_lights_image_based",
        "KHR_audio_emitter",
        "KHR_lights_punctual",
        # what is told about the model, or done with it
        "AGI_stk_metadata",
        "CESIUM_primitive_outline",
        "CVTOOLS_unity_metadata",
        "EXT_instance_features",
        "EXT_mesh_features",
        "EXT_mesh_manifold",
        "EXT_mesh_primitive_edge_visibility",
        "EXT_structural_metadata",
        "FB_geometry_metadata",
        "FB_ngon_encoding",
        "GODOT_single_root",
        "GRIFFEL_bim_data",
        "KHR_animation_pointer",
        "KHR_node_hoverability",
        "KHR_node_selectability",
        "KHR_physics_rigid_bodies",
        "KHR_xmp",
        "KHR_xmp_json_ld",
        "MSFT_lod",  # the scene shows the finest level
    }
)


def check_required(required: object) -> None:
    """Raises MeshError, with its name, for an extension that a file requires and that is not read."""
    if not isinstance(required, list):
        raise MeshError("is damaged: extensionsRequired is no list: export it again")
    for extension in required:
        if extension in MESHOPT:
            raise MeshError(f"is compressed with {extension}, which cannot be read: export it without")
        if not isinstance(extension, str) or extension not in READ | HARMLESS:
            raise MeshError(
                f"requires the glTF extension {str(extension)[:80]}, which cannot be read: export it without"
            )
