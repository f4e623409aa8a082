"""Exports of real searches, used as a user uses them: by the commands, by transformers and by PEFT."""

import io
import json
import shutil

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.tracking import MlflowClient
from safetensors.numpy import load_file, save_file

from exported_searches import SPACES, searched
from other_bases import is_refused_on_another_base
from qrlora_search.adapters.mlflow_sink.models import keep_models
from qrlora_search.app.adapted import load_export
from qrlora_search.app.cli import main
from qrlora_search.app.reading import read_search
from qrlora_search.app.scoring import Weights
from qrlora_search.describe.tasks import find_task
from qrlora_search.method.machine import versions_here
from qrlora_search.method.sources import find_data
from qrlora_search.method.splits import split_rows
from qrlora_search.record.history import HEAD_ONLY
from qrlora_search.values.packing import unpack
from qrlora_search.values.states import TrialState

FORMS = ("native", "lora", "merged")
TEXTS = ["a b", "the cat sat on the mat", "what did she give to him ?"]


@pytest.fixture(scope="module", params=list(SPACES))
def done(request, tmp_path_factory):
    """Return a search over a regression with RoBERTa, a trained head, two workers and bases of warmed-up weights, and
    one over pairs with BERT, a frozen head, directions chosen by gradient and full fine-tuning.
    """
    return searched(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def exports(done, tmp_path_factory):
    """Return the folder that holds an export in each form."""
    folder = tmp_path_factory.mktemp("exports")
    for form in FORMS:
        more = ["--no-base"] if form == "native" else []
        arguments = [str(done.output), "--trial", str(done.trial), "--as", form, "--to", str(folder / form), *more]
        assert main(["export", *arguments]) == 0
    return folder


def base_of(done, form):
    return ["--base", str(done.output / "base")] if form == "native" else []


def pairs(n=3):
    return [TEXTS[:n], TEXTS[::-1][:n]]


def test_the_base_of_an_export_holds_what_it_is_put_together_from_and_no_more(done, exports, tmp_path):
    (done.output / "base" / "factors-svd.safetensors").write_bytes(b"of another method")
    assert (
        main(["export", str(done.output), "--trial", str(done.trial), "--as", "native", "--to", str(tmp_path / "n")])
        == 0
    )
    (done.output / "base" / "factors-svd.safetensors").unlink()
    assert [one.name for one in (tmp_path / "n" / "base").glob("factors-*")] == ["factors-qr.safetensors"]
    assert not list((exports / "lora" / "base").glob("factors-*"))
    assert main(["predict", str(tmp_path / "n"), "a b", "the cat"]) == 0
    for file in (tmp_path / "n" / "base").iterdir():
        assert file.stat().st_nlink == 1, "what is changed there would change the search's own"


def test_a_base_that_was_changed_is_not_exported_and_a_link_is_written_through(done, exports, tmp_path, capsys):
    config = done.output / "base" / "config.json"
    before = config.read_bytes()
    config.write_bytes(before + b" ")
    words = ["export", str(done.output), "--trial", str(done.trial), "--as", "native", "--to"]
    try:
        assert main([*words, str(tmp_path / "n")]) == 2
    finally:
        config.write_bytes(before)
    assert "lacks config.json as it was made; it is kept once a search" in capsys.readouterr().err
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert main([*words, str(tmp_path / "link"), "--no-base"]) == 0
    assert (tmp_path / "real" / "export.json").is_file()
    assert "--base BASE" in (tmp_path / "real" / "README.md").read_text()
    assert main([*words, str(tmp_path / "new" / ".."), "--no-base"]) == 2


@pytest.mark.parametrize("form", FORMS)
def test_an_export_scores_as_the_search_recorded(done, exports, form, capsys):
    assert main(["evaluate", str(exports / form), "--data", done.data, *base_of(done, form)]) == 0
    shown = capsys.readouterr().out
    facts = json.loads((exports / form / "export.json").read_text())
    recorded = facts["scores"].get("validation")
    assert recorded is not None or done.place.task == "mrpc", "the regression's front has a member, to be compared"
    if recorded is None:  # no member of the front: the report split was not scored
        assert "not compared: the search did not score this adapter on validation" in shown
        return
    assert "largest difference to the" in shown
    assert find_task(done.place.task).regression or "all predictions are the recorded ones" in shown
    for name, value in recorded["metrics"].items():
        found = float(shown.split(f"{name} ")[1].split(",")[0].split()[0])
        assert found == pytest.approx(value, abs=1e-3 if "so close together" in shown else 1e-6)


def test_all_forms_give_the_same_logits(done, exports):
    logits = [
        load_export(exports / form, done.output / "base" if form == "native" else None).logits(pairs())
        for form in FORMS
    ]
    for other in logits[1:]:
        np.testing.assert_allclose(other, logits[0], atol=1e-5)


def reference_logits(model, folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return model.eval()(**tokenizer(*pairs(), padding=True, return_tensors="pt")).logits.numpy()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT's own use
def test_a_merged_export_loads_in_transformers_and_a_lora_one_in_peft(done, exports):
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    ours = load_export(exports / "merged").logits(pairs())
    merged = AutoModelForSequenceClassification.from_pretrained(exports / "merged")
    np.testing.assert_allclose(reference_logits(merged, exports / "merged"), ours, atol=1e-5)
    assert merged.config.id2label[0] in {"not_equivalent", "value"}
    base = AutoModelForSequenceClassification.from_pretrained(exports / "lora" / "base")
    adapted = PeftModel.from_pretrained(base, exports / "lora")
    np.testing.assert_allclose(reference_logits(adapted, exports / "lora"), ours, atol=1e-5)
    facts = json.loads((exports / "lora" / "export.json").read_text())
    coefficients = sum(
        module.lora_B["default"].weight.shape[1] for module in adapted.modules() if hasattr(module, "lora_B")
    )
    assert coefficients == facts["parameters"]


def test_the_folder_says_what_it_is(done, exports):
    facts = json.loads((exports / "native" / "export.json").read_text())
    history, plan = read_search(done.output, "OUTPUT")
    assert facts["parameters"] == history.trials[done.trial].configuration.parameters
    assert facts["provenance"]["plan"] == plan.hash
    assert facts["provenance"]["versions"] == facts["provenance"]["exported_with"] == versions_here()
    assert facts["base"]["weights"] == json.loads((done.output / "base" / "base.json").read_text())["weights"]
    card = (exports / "native" / "README.md").read_text()
    assert f"{facts['parameters']:,} parameters" in card
    assert "The warm-up before it trained every weight of the model" in card
    seen = "" if (done.trial, "selection") in history.scored else f", as the search saw it in {plan.precision}"
    assert f"| selection{seen if plan.precision != 'float32' else ''} | {plan.counts.selection} |" in card
    assert str(done.place.folder) not in card + json.dumps(facts)
    assert not (exports / "native" / "base").exists()
    assert not list(exports.rglob("*.pkl")) + list(exports.rglob("*.bin"))
    if not facts["head_parameters"]:
        assert (exports / "native" / "adapter.safetensors").stat().st_size < 4000


def test_predictions_of_arguments_a_file_and_standard_input_are_the_same(done, exports, tmp_path, capsys, monkeypatch):
    folder = str(exports / "merged")
    assert main(["predict", folder, TEXTS[0], TEXTS[2], TEXTS[1], TEXTS[1]]) == 0
    by_arguments = capsys.readouterr().out
    rows = [(TEXTS[0], TEXTS[2]), (TEXTS[1], TEXTS[1])]
    (tmp_path / "rows.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    assert main(["predict", folder, "--file", str(tmp_path / "rows.tsv")]) == 0
    assert capsys.readouterr().out == by_arguments
    lines = [json.dumps(dict(zip(("sentence1", "sentence2"), row, strict=True))) for row in rows]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert main(["predict", folder]) == 0
    assert capsys.readouterr().out == by_arguments
    first = json.loads(by_arguments.splitlines()[0])
    assert first["sentence1"] == TEXTS[0]
    if "value" not in first:
        assert first["label"] in {"not_equivalent", "equivalent"}
        assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_wrong_input_is_refused_with_the_remedy_and_nothing_is_written(done, exports, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(done.output / "base", other)
    weights = load_file(other / "model.safetensors")
    weights["classifier.weight" if "classifier.weight" in weights else "classifier.out_proj.weight"][0, 0] += 1e-6
    (other / "model.safetensors").unlink()  # it may be a link to the search's own
    save_file(weights, other / "model.safetensors")
    factorless = tmp_path / "factorless"
    shutil.copytree(done.output / "base", factorless)
    (factorless / "factors-qr.safetensors").unlink()
    damaged = tmp_path / "damaged"
    shutil.copytree(exports / "lora", damaged)
    (damaged / "adapter_config.json").write_text("{}")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("kept")
    broken = tmp_path / "broken"
    shutil.copytree(exports / "lora", broken)
    (broken / "export.json").write_text('{"files": ')
    cut, otherwise = tmp_path / "cut", tmp_path / "otherwise"
    for place in (cut, otherwise):
        shutil.copytree(done.output / "base", place)
        for name in ("model.safetensors", "config.json"):  # they may be links to the search's own
            content = (place / name).read_bytes()
            (place / name).unlink()
            (place / name).write_bytes(content)
    (cut / "model.safetensors").write_bytes(b"cut")
    config = json.loads((otherwise / "config.json").read_text())
    (otherwise / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    (tmp_path / "halves").write_text('{"sentence1": "a", "sentence2": "\\ud800"}')
    (tmp_path / "braces").write_text("{a\tb")
    (tmp_path / "latin").write_bytes("\xe9\tb".encode("latin-1"))
    unfinished = tmp_path / "unfinished"
    shutil.copytree(done.output, unfinished, ignore=shutil.ignore_patterns("front*"))
    out, to = str(done.output), str(tmp_path / "new")
    cases = [
        (["export", out, "--trial", "99", "--to", to], "--trial 99 is not in this search"),
        (["export", out, "--under", "0", "--to", to], "--under 0: the smallest member" if _members(done) else "front"),
        (["export", out, "--trial", "0", "--under", "9", "--to", to], "--under and --trial exclude each other"),
        (["export", out, "--as", "onnx", "--to", to], "--as 'onnx' is no form of export; use native, lora, merged"),
        (["export", out, "--pick", "kneee", "--to", to], "--pick 'kneee' is not known; did you mean 'knee'"),
        (["export", str(tmp_path / "none"), "--to", to], "does not exist: it has no record.db"),
        (["export", str(unfinished), "--to", to], "has no front yet"),
        (["export", out, "--trial", str(done.trial), "--to", str(full)], "exists and is not empty"),
        (["predict", str(exports / "native"), "a", "b"], "is missing or incomplete; name the search's `base`"),
        (["predict", str(exports / "native"), "a", "b", "--base", str(other)], "is another model"),
        (["predict", str(exports / "native"), "a", "b", "--base", str(factorless)], "lacks factors-qr.safetensors"),
        (["predict", str(exports / "native"), "a", "b", "--base", str(cut)], "cannot be read"),
        (["predict", str(exports / "native"), "a", "b", "--base", str(otherwise)], "lacks config.json as it was made"),
        (["predict", str(broken), "a", "b"], "is damaged: export.json is no export's"),
        (["predict", str(exports / "merged"), "--file", str(tmp_path / "halves")], "half of a character"),
        (["predict", str(exports / "merged"), "--file", str(tmp_path / "braces")], "is written as JSON, too: {"),
        (["predict", str(exports / "merged"), "--file", str(tmp_path / "latin")], "cannot be read"),
        (["export", out, "--trial", str(done.trial), "--to", "."], "is the folder that this runs in"),
        (["export", out, "--trial", str(done.trial), "--to", str(full / "mine" / "x")], "cannot be written"),
        (["predict", str(exports / "merged"), "a"], "1 text(s) given: "),
        (["predict", str(damaged), "a", "b"], "is damaged: adapter_config.json is missing or was changed"),
        (["predict", str(full), "a", "b"], "is no export"),
        (["predict", str(exports / "merged"), "--file", str(tmp_path / "nowhere")], "cannot be read"),
        (["evaluate", str(exports / "merged"), "--task", "sst2", "--data", done.data], "was trained for"),
    ]
    for arguments, message in cases:
        assert main(arguments) == 2, arguments
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert [one.name for one in full.iterdir()] == ["mine"]
    assert not list(tmp_path.glob(".*draft"))


def _members(done):
    return json.loads((done.output / "front.json").read_text())["members"]


def test_a_member_is_an_mlflow_model_that_scores_as_its_export(done, exports, tmp_path):
    """The base is logged once on the parent; the member's own model holds no copy of it, and no pickle."""
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(address)
    experiment = client.create_experiment("members", artifact_location=(tmp_path / "artifacts").as_uri())
    parent, child, fewer = (client.create_run(experiment).info.run_id for _ in range(3))
    history, plan = read_search(done.output, "OUTPUT")
    output = tmp_path / "out"
    shutil.copytree(done.output / "base", output / "base")
    what, name = history.trials[done.trial].configuration, f"trial-{done.trial:05d}"
    (output / "front").mkdir()
    shutil.copy(Weights(done.output).path(done.trial), output / "front" / f"{name}.safetensors")
    facts = {
        "trial": done.trial, "configuration": what.to_json(), "parameters": what.parameters, "task": plan.task,
        "stand_in": plan.stand_in,
    }  # fmt: skip
    (output / "front" / f"{name}.json").write_text(json.dumps(facts))
    for suffix in ("safetensors", "json"):  # a derived point of the same trial has a run of its own
        shutil.copy(output / "front" / f"{name}.{suffix}", output / "front" / f"{name}-kept-4.{suffix}")
    client.log_artifact(parent, str(output / "base" / "config.json"), "base")  # an upload that was cut short
    client.log_text(child, "half of it", "model/MLmodel")
    for _ in range(2):  # a second time adds nothing
        runs = {f"front/{name}.safetensors": child, f"front/{name}-kept-4.safetensors": fewer}
        keep_models(client, parent, runs, output)
    files = [one for one in (tmp_path / "artifacts").rglob("*") if one.is_file()]
    assert sum(one.name == "model.safetensors" for one in files) == 1
    assert not [one for one in files if one.suffix in {".pkl", ".pickle"}]
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(address)
    try:
        model = mlflow.pyfunc.load_model(f"runs:/{child}/model")
        columns = pairs()
        asked = pd.DataFrame(dict(zip(find_task(plan.task).texts, columns, strict=True)))
        found = model.predict(asked)
        pd.testing.assert_frame_equal(mlflow.pyfunc.load_model(f"runs:/{fewer}/model").predict(asked), found)
        is_refused_on_another_base(f"runs:/{child}/model", next((tmp_path / "artifacts").rglob("base.json")).parent)
    finally:
        mlflow.set_tracking_uri(before)
    logits = load_export(exports / "merged").logits(columns)
    if plan.task == "stsb":
        np.testing.assert_allclose(found["prediction"], logits[:, 0], atol=1e-5)
        return
    labels = find_task(plan.task).labels
    assert found["prediction"].tolist() == [labels[one] for one in logits.argmax(1)]
    exact = np.exp(logits).max(1) / np.exp(logits).sum(1)
    np.testing.assert_allclose(found["probability"], exact, atol=1e-5)


@pytest.mark.parametrize("done", ["stsb"], indirect=True)
def test_a_trained_head_is_counted_and_controlled_by_itself_and_max_params_is_kept_to(done):
    history, plan = read_search(done.output, "OUTPUT")
    assert plan.space.warm_up.workers == 2
    assert history.trials[HEAD_ONLY].state is TrialState.FINISHED
    assert all(one.configuration.parameters <= 40 for one in history.searched)
    view = json.loads((done.output / "front.json").read_text())
    assert [one["kind"] for one in view["controls"]] == ["warm-up", "head-only"]
    assert view["controls"][1]["head_parameters"] == plan.encoder.head_parameters
    assert all(member["head_parameters"] > 0 for member in view["members"])
    assert view["controls"][0]["selection"]["metrics"].keys() == {"pearson", "spearman"}


@pytest.mark.parametrize("done", ["mrpc"], indirect=True)
def test_full_fine_tuning_and_chosen_directions_are_exported_as_they_were_trained(done, tmp_path, capsys):
    """Both keep more than a vector of coefficients: a whole encoder, or the places of the directions."""
    history, plan = read_search(done.output, "OUTPUT")
    task = find_task("mrpc")
    selection = split_rows(find_data(done.data, task).splits, task, plan.seed, None).selection
    ended = history.in_state(TrialState.FINISHED)
    assert {one.configuration.method for one in ended} == {"full", "qr-lora"}
    for trial in ended:
        form = "merged" if trial.configuration.whole else "native"
        folder = tmp_path / f"{trial.number}-{form}"
        wanted = [str(done.output), "--trial", str(trial.number), "--to", str(folder), "--as"]
        assert main(["export", *wanted, form]) == 0
        logits = load_export(folder).logits([selection[column].tolist() for column in task.texts])
        np.testing.assert_array_equal(logits.argmax(1), unpack(trial.reports[-1].packed))
        if trial.configuration.whole:
            assert main(["export", *wanted[:-2], str(tmp_path / "no"), "--as", "lora"]) == 2
            assert "no adapter; use --as merged" in capsys.readouterr().err
            assert not (tmp_path / "no").exists()
            assert trial.configuration.parameters == plan.encoder.parameters
