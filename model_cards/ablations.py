"""Train and evaluate the ablations of a card: ``python -m model_cards.ablations ARCHITECTURE --data ...``.

Every variant is the recipe ``pretrain_tiny`` of the architecture's family with one change, with the same
budget and training seeds. This writes one JSON file for each variant (``evaluate linear``, cross-validation
on train; the test set is not used) and one that compares all that exist (``evaluate compare``), which the
card shows. Finished runs in FOLDER are not trained again, and stopped runs are continued.
"""

import argparse
from pathlib import Path
from typing import Any

from pointmae_zoo.evaluate import compare, comparison_table, evaluate_linear
from pointmae_zoo.train import PretrainRecipe, pretrain, read_recipe

# Architecture, name, label in the table, changes. "shapes": the clouds of --data.
VARIANTS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "i2p_mae_tiny": {
        "all": ("3D + 2D loss, guided masks, shapes + procedural", {}),
        "no_guidance": (
            "masks drawn uniformly instead",
            {"model_arguments": {"saliency_temperature": 1e6}},
        ),
        "no_2d": ("3D loss only (masks uniform)", {"teacher": {"name": ""}}),
        "shapes_only": ("shapes only", {"procedural_clouds": 0}),
        "procedural_only": ("procedural shapes only", {"data": []}),
        "no_noise": (
            "no noise, always 1,024 points",
            {"augmentation": {"jitter": 0.0, "density": 1.0}},
        ),
    },
    "joint_mae_tiny": {
        "all": ("3D + 2D + cross loss, local attention, independent masks", {}),
        "no_image": ("without the 2D branch (3D loss only)", {"model_arguments": {"image_branch": False}}),
        "no_cross_loss": ("without the cross loss", {"model_arguments": {"weight_cross": 0.0}}),
        "full_attention": (
            "every 3D token sees every patch",
            {"model_arguments": {"cross_attention": "full"}},
        ),
        "no_attention": (
            "3D tokens see no patch (the decoder still mixes them)",
            {"model_arguments": {"cross_attention": "none"}},
        ),
        "aligned": (
            "masks aligned: patches of visible tokens are visible",
            {"model_arguments": {"mask_alignment": "aligned"}},
        ),
        "complementary": (
            "masks complementary: patches of hidden tokens are visible",
            {"model_arguments": {"mask_alignment": "complementary"}},
        ),
    },
}


def variant_recipe(
    architecture: str, name: str, data: list[str], teacher_weights: str, clouds: int
) -> PretrainRecipe:
    """The recipe of a variant; ``clouds`` procedural ones where there are no others."""
    recipe = read_recipe(f"{architecture.removesuffix('_tiny')}/pretrain_tiny").override(data=data)
    if recipe.teacher.name:
        recipe = recipe.override(teacher={"weights": teacher_weights})
    changes = dict(VARIANTS[architecture][name][1])
    if changes.get("data") == []:
        changes["procedural_clouds"] = clouds
    return recipe.override(**changes)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("architecture", choices=list(VARIANTS))
    parser.add_argument("--data", nargs="+", required=True, help="training clouds, as pretrain's")
    parser.add_argument("--labelled", required=True, help="clouds with labels, as evaluate linear's")
    parser.add_argument("--teacher-weights", default="pretrained")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("model_cards/evaluations/ablations"))
    parser.add_argument("--variants", nargs="+", help="default: all of the architecture's")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--procedural-clouds", type=int, default=2464, help="for procedural_only")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    variants = VARIANTS[args.architecture]
    for name in args.variants or variants:
        recipe = variant_recipe(
            args.architecture, name, args.data, args.teacher_weights, args.procedural_clouds
        )
        runs = []
        for seed in args.seeds:
            run = args.runs / f"{name}_{seed}"
            settings = {"steps": args.steps, "warmup_steps": args.steps // 10, "seed": seed}
            done = pretrain(
                recipe.override(**settings),
                run,
                resume=(run / "recipe.yaml").is_file(),
                cache=args.runs / "cache",
            )
            print(done)
            if not done.completed:
                return
            runs.append(run)
        report = evaluate_linear(
            runs,
            args.labelled,
            split="validation",
            seeds=0,
            label=variants[name][0],
            out=args.out / f"{args.architecture}.{name}.json",
        )
        print(report.table())
    files = [args.out / f"{args.architecture}.{name}.json" for name in variants]
    out = args.out.parent / f"ablations.{args.architecture}.json"
    found = compare([file for file in files if file.is_file()], out)
    print(comparison_table(found))


if __name__ == "__main__":
    main()
