"""The card of an export: what it is, how good, on how many examples, and how to use it."""

from typing import Any

from qrlora_search.describe.tasks import find_task

_USE = {
    "merged": """    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    model = AutoModelForSequenceClassification.from_pretrained("DIR")
    tokenizer = AutoTokenizer.from_pretrained("DIR")
""",
    "lora": """    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    base = AutoModelForSequenceClassification.from_pretrained("DIR/base")
    model = PeftModel.from_pretrained(base, "DIR")
    tokenizer = AutoTokenizer.from_pretrained("DIR")
""",
    "native": "",
}


def model_card(facts: dict[str, Any]) -> str:
    """Returns the card as Markdown."""
    task = find_task(facts["task"])
    name = f"{task.name} (STAND-IN data, not GLUE)" if facts["stand_in"] else task.name
    made = facts["provenance"]
    lines = [
        f"# {facts['method']} adapter for {name}: {facts['parameters']:,} parameters",
        "",
        f"Trained parameters: {facts['parameters']:,} ({facts['words']}), head: "
        + (f"{facts['head_parameters']:,} trained with them." if facts["head_parameters"] else "frozen."),
        f"**The count is the adapter's alone.** The warm-up before it trained every weight of the model: "
        f"{facts['warm_up_parameters']:,}.",
        "",
        "| split | n | metric | this adapter | control (warm-up alone) |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += _score_rows(facts)
    if not facts["scores"]:
        lines += ["", "The search did not score this adapter: `python -m platform.evaluate DIR` does. One seed."]
    elif facts.get("picked", True):
        lines += ["", "The selection split chose this adapter and flatters it. One warm-up, one seed."]
    else:
        lines += ["", "It was asked for by its number and is no choice of the search. One warm-up, one seed."]
    if facts.get("kept") is not None:
        lines.append(f"Derived without training: the {facts['kept']:,} largest coefficients of the trial's own.")
    if facts.get("selected_on") == "validation":
        lines.append("SELECTED ON THE VALIDATION SET: it fed the search's decisions and flatters the adapter, too.")
    if facts["stand_in"]:
        lines.append("The data were generated; the scores say nothing about the real task.")
    if facts["labels"]:
        lines += ["", f"Labels, in the order of the outputs: {', '.join(facts['labels'])}."]
    else:
        lines += ["", "The output is a number."]
    columns = " and ".join(task.texts)
    lines += ["", f"Input: {columns}, at most {facts['max_length']} tokens.", "", "## Use", ""]
    if facts["form"] != "merged":
        lines += [f"It belongs to one base model, in `base` or given with --base; its weights' hash is "
                  f"`{facts['base']['weights']}`.", ""]  # fmt: skip
    lines += [*_use(facts, len(task.texts) > 1), "## Made by", ""]
    lines += [
        f"- search `{made['search']}`, plan `{made['plan']}`, seed {made['seed']}, trial {facts['trial']}",
        f"- model {made['model']['name']} (`{made['model']['fingerprint'][:16]}`), data {made['data']['name']} "
        f"(`{made['data']['fingerprint'][:16]}`)",
        *(
            f"- {what} " + ", ".join(f"{package} {number}" for package, number in made[key].items())
            for what, key in (("trained with", "versions"), ("exported with", "exported_with"))
            if made[key]
        ),
        "",
    ]
    return "\n".join(lines)


def _score_rows(facts: dict[str, Any]) -> list[str]:
    rows = []
    for split, scored in facts["scores"].items():
        seen = scored.get("precision", "float32")
        where = split if seen == "float32" else f"{split}, as the search saw it in {seen}"
        for metric, value in scored["metrics"].items():
            control = facts["control"].get(split, {}).get(metric)
            shown = "" if control is None else f"{control:.4f}"
            rows.append(f"| {where} | {scored['n']:,} | {metric} | {value:.4f} | {shown} |")
    return rows


def _use(facts: dict[str, Any], pair: bool) -> list[str]:
    second = ' "a second text"' if pair else ""
    if facts.get("base_inside", True) or facts["form"] == "merged":
        return [f'    python -m platform.predict DIR "a text"{second}', _USE[facts["form"]]]
    lines = [f'    python -m platform.predict DIR "a text"{second} --base BASE', _USE[facts["form"]]]
    lines = [line.replace("DIR/base", "BASE") for line in lines]
    return [*lines, "`BASE` is the folder `base` of the search's output: it was left out here.", ""]
