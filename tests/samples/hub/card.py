"""The Hub's check of a card's front matter, as far as these tests need it."""

import yaml


def problems(content: str) -> list[str]:
    """What the Hub would refuse in a ``README.md``; an empty list if it is fine."""
    if not content.startswith("---\n") or "\n---\n" not in content[3:]:
        return []  # a card without metadata is let through
    try:
        data = yaml.safe_load(content[4 : content.index("\n---\n", 3) + 1])
    except yaml.YAMLError as error:
        return [f"YAML: {error}".replace("\n", " ")]
    if data is None:
        return []
    if not isinstance(data, dict):
        return ["the metadata must be a mapping"]
    found = [
        f'"{name}" must be a string'
        for name in ("license", "library_name", "pipeline_tag")
        if not text(data, name)
    ]
    tags = data.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        found.append('"tags" must be an array of strings')
    for model in data.get("model-index", []):
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            found.append('"model-index[].name" is required')
            continue
        for result in model.get("results", []):
            if not isinstance(result.get("task"), dict) or not result["task"].get("type"):
                found.append('"model-index[].results[].task.type" is required')
            dataset = result.get("dataset")
            if not isinstance(dataset, dict) or not dataset.get("name") or not dataset.get("type"):
                found.append('"model-index[].results[].dataset" needs a name and a type')
            metrics = result.get("metrics")
            if not isinstance(metrics, list) or not metrics:
                found.append('"model-index[].results[].metrics" is required')
            elif not all(metric.get("type") and "value" in metric for metric in metrics):
                found.append('"model-index[].results[].metrics[]" needs a type and a value')
    return found


def text(data: dict, name: str) -> bool:
    return name not in data or isinstance(data[name], str)
