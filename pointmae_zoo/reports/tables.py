"""Markdown tables of what ``pointmae-zoo evaluate`` wrote, with a note below each; for cards and docs."""

from typing import Any

from pointmae_zoo.reports.schema import is_comparison, is_scored

OF_PART_SEGMENTERS = (
    "A part segmenter predicts no classes. These numbers are of its encoder's features, without its head."
)
CHANGES = (
    "Noise is Gaussian, in units of the cloud's radius. A missing ball is the points nearest to a random "
    "one; a missing side is those farthest along a random direction."
)
_LONGEST = 60  # rows of a table of classes or parts; a card has no room for more
CLASSIFIERS = {
    "svm": "linear SVM",
    "logistic": "logistic regression",
    "paper": "linear SVM on raw features with the papers' fixed C",
}


def linear_table(report: dict[str, Any]) -> str:
    """Accuracies of a linear probe beside its baselines, in percent, mean ± deviation over the runs."""
    context, main = report["context"], main_classifier(report)
    on_train = context["split"] == "validation"
    title = f"frozen features, {len(context['dataset']['classes'])} classes"
    if main != "svm":
        title += f", {CLASSIFIERS.get(main, main)}"
    if context["protocol_name"] == "paper":
        title += ", the papers' protocol"
    title += posed(report)
    lines = head(title, "runs", "cross-validation on train", "test")
    for row in _by(report["rows"] if _is_one_of_several(report) else [], main):
        if row.get("model") == context["label"]:
            tested = "not used" if row["test_accuracy"] is None else f"{row['test_accuracy']:.1f}"
            lines.append(line("these weights", "1", f"{row['cv_accuracy']:.1f}", tested))
    for row in _by(report["summary"], main):
        lines.append(line(_name(row), str(row["runs"]), spread(row, "cv"), spread(row, "test")))
    majority = f"{context['majority_accuracy']:.1f}"
    always = (majority, "") if on_train else ("", majority)
    lines.append(line("always the most frequent class", "", *always))
    tested = "the test split was not used" if on_train else f"{context['num_test']} to test"
    notes = [
        f"{context['dataset']['file']}: {context['num_train']} clouds to train, {tested}.",
        f"{context['protocol'][:1].upper()}{context['protocol'][1:]}.",
    ]
    for row in report["summary"]:
        if row["features"] == "weights" and row["classifier"] != main and not on_train:
            other = f"{CLASSIFIERS.get(row['classifier'], row['classifier'])} instead of the SVM"
            if row["classifier"] == "paper":
                other = f"the papers' fixed C ({context['fixed_C']:g}) on raw features"
            notes.append(f"With {other}, accuracy is {spread(row, 'test')}.")
    for row in _by(report["differences"], main):
        ours = "these weights" if len(context["models"]) == 1 else "the trainings' mean"
        notes.append(
            f"The difference of {ours} to {row['baseline']} weights on the same clouds is "
            f"{row['difference']:+.1f} points (95 % interval {row['low']:+.1f} to {row['high']:+.1f})."
        )
    return with_note(lines, " ".join(notes))


def posed(report: dict[str, Any]) -> str:
    """The poses of frozen features, for the name of a number; nothing for upright ones."""
    pose = report["context"].get("pose", "upright")
    return "" if pose == "upright" else f", pose {pose}"


def robustness_table(report: dict[str, Any]) -> str:
    """Accuracies on changed test clouds, one line for each change, one column for each features."""
    asked, main = report["context"]["robustness"], main_classifier(report)
    clean, rows = _by(report["summary"], main), _by(report["robustness"], main)
    found = {(row["features"], row["change"]): spread(row, "test") for row in rows}
    lines = head("test clouds", *(_name(row) for row in clean))
    lines.append(line("as they are", *(spread(row, "test") for row in clean)))
    for change in dict.fromkeys(row["change"] for row in rows):
        lines.append(line(change, *(found.get((row["features"], change), "") for row in clean)))
    classifier = CLASSIFIERS.get(main, main)
    note = f"{classifier[:1].upper()}{classifier[1:]} {asked['classifier']} (seed {asked['seed']}). {CHANGES}"
    if report["context"].get("of_part_segmenters") is True:
        note += f" {OF_PART_SEGMENTERS}"
    return with_note(lines, note)


def fewshot_table(report: dict[str, Any]) -> str:
    """Accuracy of few-shot episodes, in percent, mean ± deviation over the runs; in the papers' protocol over
    the folds."""
    context, asked = report["context"], report["context"]["few_shot"]
    paper = context["protocol_name"] == "paper"
    found = {(row["features"], row["ways"], row["shots"]): row for row in report["few_shot"]}
    lines = head("frozen features", *(f"{one['ways']}-way {one['shots']}-shot" for one in asked))
    if _is_one_of_several(report):
        place = report["context"]["models"].index(report["context"]["label"])
        own = (found["weights", one["ways"], one["shots"]]["accuracies"][place] for one in asked)
        lines.append(line("these weights", *(f"{accuracy:.1f}" for accuracy in own)))
    for row in {row["features"]: row for row in report["few_shot"]}.values():
        known = [found.get((row["features"], one["ways"], one["shots"])) for one in asked]
        cells = [(over_folds(one) if paper else spread(one, "test")) if one else "" for one in known]
        lines.append(line(_name(row), *cells))
    lines.append(line("chance", *(f"{100 / one['ways']:.1f}" for one in asked)))
    if paper:
        return with_note(lines, f"{context['protocol'][:1].upper()}{context['protocol'][1:]}.")
    deviations = [f"{row['episode_std']:.1f}" for row in report["few_shot"] if row["features"] == "weights"]
    source = "train" if context["split"] == "validation" else "test"
    any_of = asked[0]
    several = ", ".join(deviations[:-1]) + " and " if len(deviations) > 1 else ""
    note = (
        f"{any_of['episodes']} episodes each. Support clouds come from train. Up to {any_of['queries']} "
        f"query clouds per class come from {source} and are never near duplicates of support clouds. The "
        f"classifier is a linear SVM (C = {any_of['C']:g}) on features standardised over the support clouds. "
        "Accuracies are means over classes. Between episodes, the standard deviation for these weights is "
        f"{several}{deviations[-1] if deviations else 0}."
    )
    return with_note(lines, note)


def scores_table(report: dict[str, Any]) -> str:
    """Scores of fine-tuned networks in percent, mean ± deviation over the runs, with and without votes."""
    context = report["context"]
    title = f"fine-tuned, {len(context['dataset']['classes'])} classes"
    if context["protocol_name"] == "paper":
        title += ", the papers' protocol"
    lines = head(title, "runs", "score", "95 % interval")
    for row in report["summary"]:
        name = row["measure"] + (f", {row['votes']} votes" if row["votes"] else "")
        interval = f"{row['low']:.1f} to {row['high']:.1f}"
        lines.append(line(name, str(row["runs"]), _mean(row, row["runs"]), interval))
    if "majority_accuracy" in context:
        lines.append(line("always the most frequent class", "", f"{context['majority_accuracy']:.1f}", ""))
    protocol = context["protocol"]
    which = "to test" if context["split"] == "test" else "held out of train; the test split was not used"
    trained = "" if context["num_train"] is None else f"{context['num_train']} clouds to train, "
    note = (
        f"{context['dataset']['file']}: {trained}{context['num_test']} {which}. "
        f"{protocol[:1].upper()}{protocol[1:]}. Intervals are bootstrapped over groups of near duplicates "
        "and don't include the spread between runs."
    )
    if shots := context["recipe"].get("shots"):
        note += f" Trained on {shots} labelled clouds per class."
    if any(row["votes"] for row in report["summary"]):
        note += " Votes: predictions are averaged over random views of each cloud, augmented as in training."
    return with_note(lines, note)


def class_table(report: dict[str, Any]) -> str:
    """A line for every class, and in part segmentation for every part; empty if there are too many."""
    parts = []
    for kind in ("class", "part"):
        rows = report[f"per_{kind}"]
        if not 0 < len(rows) <= _LONGEST:
            continue
        runs = len(report["context"]["models"])
        first = report["summary"][0]["measure"] if report["summary"] else "score"
        measure = "accuracy" if first == "accuracy" else "mean IoU"
        lines = head(kind, "clouds", measure)
        for row in rows:
            score = "no clouds" if row["mean"] is None else _mean(row, runs)
            lines.append(line(row[kind], str(row["clouds"]), score))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def changed_table(report: dict[str, Any]) -> str:
    """Accuracies of a fine-tuned classifier on changed test clouds."""
    lines = head("test clouds", "these weights")
    if report["summary"]:
        lines.append(line("as they are", _mean(report["summary"][0], report["summary"][0]["runs"])))
    for row in report["robustness"]:
        found = {"mean": row["test_mean"], "std": row["test_std"]}
        lines.append(line(row["change"], _mean(found, row["runs"])))
    asked = report["context"]["robustness"]
    note = f"Fine-tuned classifier, {asked['classifier']} (seed {asked['seed']}). {CHANGES}"
    return with_note(lines, note)


def tables(report: dict[str, Any]) -> str:
    """All tables of a report that ``pointmae-zoo evaluate`` wrote."""
    if is_comparison(report):
        return ablation_table(report)
    if is_scored(report):
        parts = [changed_table(report)] if report["robustness"] else [scores_table(report)]
        parts.append(class_table(report))
        return "\n\n".join(filter(None, parts))
    parts = [linear_table(report)] if report["summary"] and not is_part(report) else []
    parts += [robustness_table(report)] if report["robustness"] else []
    parts += [fewshot_table(report)] if report["few_shot"] else []
    return "\n\n".join(parts)


def is_part(report: dict[str, Any]) -> bool:
    """Whether its linear probe is there for comparison only, as in a report of robustness."""
    return bool(report["context"].get("task") == "robustness")


def ablation_table(found: dict[str, Any]) -> str:
    """What ``evaluate compare`` found: a line for each variant, with its difference from the first one on the
    same clouds."""
    rows, tested = found["rows"], found["context"]["measure"] == "test"
    asked = [[(one["ways"], one["shots"]) for one in row["few_shot"]] for row in rows]
    shots = [one for one in asked[0] if all(one in other for other in asked)]
    probed = any(row["cv_mean"] is not None for row in rows)  # fine-tuned networks have no cross-validation
    split = str(found["context"]["split"])
    titles = ["weights" if tested else "variant", "training seeds"]
    titles += ["cross-validation on train"] if probed else []
    titles += [split] if tested else []
    lines = head(*titles, "minus the first [95 %]", *(f"{ways}-way {count}-shot" for ways, count in shots))
    for row in rows:
        cells = [
            row["label"],
            str(row["runs"]),
            *([spread(row, "cv")] if probed else []),
            *([spread(row, "test")] if tested else []),
        ]
        paired = row["difference"]
        cells.append("" if paired is None else "{mean:+.1f} [{low:+.1f}, {high:+.1f}]".format(**paired))
        known = {(one["ways"], one["shots"]): {**one, "runs": row["runs"]} for one in row["few_shot"]}
        lines.append(line(*cells, *(spread(known[one], "test") if one in known else "" for one in shots)))
    note = (
        f"{found['context']['dataset']['file']}, {len(found['context']['dataset']['classes'])} classes. "
        f"Differences are of the {split if tested else 'cross-validation'} "
        f"{'mIoU' if found['context'].get('compared') == 'parts' else 'accuracy'}. Their intervals are "
        "bootstrapped over groups of near duplicates and don't include the spread between training seeds."
    )
    return with_note(lines, note)


def main_classifier(report: dict[str, Any]) -> str:
    """The classifier whose accuracies the tables show: the linear SVM if it was measured."""
    known = [row["classifier"] for row in report["summary"]]
    return "svm" if "svm" in known or not known else str(known[0])


def spread(row: dict[str, Any], which: str) -> str:
    """Mean ± deviation of ``test`` or ``cv``; of a single run there is no deviation."""
    if row[which + "_mean"] is None:
        return "not used"
    mean = f"{row[which + '_mean']:.1f}"
    return mean if row["runs"] == 1 else f"{mean} ± {row[which + '_std']:.1f}"


def over_folds(row: dict[str, Any]) -> str:
    """Mean ± deviation over the folds of the papers' few-shot protocol."""
    return f"{row['test_mean']:.1f} ± {row['episode_std']:.1f}"


def head(*titles: str) -> list[str]:
    """The first two lines of a table."""
    return [line(*titles), line(*["---"] * len(titles))]


def line(*cells: str) -> str:
    """A line of a table."""
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return "|" + "|".join(f" {cell} " if cell else " " for cell in escaped) + "|"


def with_note(lines: list[str], note: str) -> str:
    """A table and a paragraph below it."""
    return "\n".join([*lines, "", note])


def _mean(row: dict[str, Any], runs: int) -> str:
    if row["mean"] is None:
        return ""
    return f"{row['mean']:.1f}" + (f" ± {row['std']:.1f}" if runs > 1 else "")


def _by(rows: list[dict[str, Any]], classifier: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["classifier"] == classifier]


def _is_one_of_several(report: dict[str, Any]) -> bool:
    """Whether a table is of several trainings, and called after one of them."""
    context = report["context"]
    return len(context["models"]) > 1 and context["label"] in context["models"]


def _name(row: dict[str, Any]) -> str:
    if row["features"] != "weights":
        return f"the same network, {row['features']}"
    return "these weights" if row["runs"] == 1 else f"{row['runs']} trainings of this recipe"
