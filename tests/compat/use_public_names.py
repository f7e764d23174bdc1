"""The main public names at work, as a person's script has them: `use_public_names.py FOLDER CACHE`.

FOLDER holds the class folders of `pictures`; every step is checked, and printed as it is done.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import tlfeatures
from tlfeatures import (
    CNNCodes,
    ImageIndex,
    Pictures,
    TransferClassifier,
    advise,
    evaluate_baseline,
    load_pictures,
)
from tlfeatures.backbones import BackboneRequest, describe_backbone, list_backbones
from tlfeatures.classification import SavedModel, evaluate_model, load_model, predict_saved
from tlfeatures.demo import draw_digits
from tlfeatures.evaluation import (
    make_split,
    mcnemar_p,
    mean_recall,
    mean_recall_interval,
    paired_difference,
    score,
    wilson_interval,
)
from tlfeatures.extraction import RunOptions, extract, extract_layers, open_engine, resolve
from tlfeatures.finetuning import RECIPES, FineTunedClassifier, parse_augmentation
from tlfeatures.heads import HEADS, choose_head, make_head, scorer_from_arrays
from tlfeatures.neighbors import METRICS, kneighbors
from tlfeatures.pictures import content_digest, decode, find_exact_copies, row_key
from tlfeatures.report import make_baseline_page, make_model_page, save_page
from tlfeatures.store import CodeCache, cache_info, verify_cache


def use_estimators(pictures: Pictures, codes: CNNCodes, out: Path) -> None:
    X = codes.transform(pictures)
    assert X.shape == (40, 256)
    assert X.dtype == np.float32
    assert codes.fit(pictures).n_features_out_ == 256
    assert codes.spec_.dim == len(codes.get_feature_names_out())
    assert np.asarray(codes.codes(pictures)).shape == X.shape
    assert [each.shape[1] for each in codes.transform_layers(pictures, ["layer2", None])] == [
        64,
        256,
    ]
    np.testing.assert_allclose(codes.query(pictures[:2]), X[:2], atol=1e-4)
    pipeline = make_pipeline(clone(codes), LogisticRegression()).fit(pictures, pictures.labels)
    assert pipeline.score(pictures, pictures.labels) > 0.5
    model = TransferClassifier(codes, head="svm").fit(pictures, pictures.labels)
    assert list(model.classes_) == list(pictures.classes)
    assert model.predict_proba(pictures).shape == (40, 4)
    path = model.save(out / "m.model")
    again = load_model(path)
    assert (again.predict(pictures) == model.predict(pictures)).all()
    assert SavedModel.load(path).head_name == model.head_name_ == "svm"
    found = predict_saved(SavedModel.load(path), pictures, RunOptions(cache=codes.cache))
    assert found.predictions[0].label in model.classes_
    assert evaluate_model(again, pictures).n_copies == 40
    index = ImageIndex(codes).fit(pictures)
    distances, rows = index.kneighbors(pictures[:3], n_neighbors=5)
    assert distances.shape == rows.shape == (3, 5)
    assert len(index.search(pictures[:1], 2)[0]) == 2
    assert set(index.pictures_.classes) == set(pictures.classes)


def use_heads(X: np.ndarray, y: np.ndarray) -> None:
    made = {name: make_head(name) for name in HEADS}
    for name, head in made.items():
        head.fit(X, y)
        assert list(head.classes_) == sorted(set(y))
        scorer = scorer_from_arrays(*head.to_arrays())
        shares = scorer.predict_proba(X)
        assert (scorer.classes[shares.argmax(axis=1)] == head.predict(X)).all()
        if name == "knn":
            continue
        assert head.C_ > 0
        lengths = {len(column) for column in head.cv_results_.values()}
        assert len(lengths) == 1
        assert lengths.pop() == len(set(head.cv_results_["C"]))  # one row for each C
        assert head.coef_.shape == (4, X.shape[1])
    name, table = choose_head(made, X, y)
    assert name in {row.name for row in table}
    assert set(METRICS) >= {"cosine", "euclidean"}
    distances, rows = kneighbors(X[:2], X, 3)
    assert rows[:, 0].tolist() == [0, 1]
    assert (np.diff(distances, axis=1) >= 0).all()


def use_evaluation(y: np.ndarray) -> None:
    split = make_split(y, test=0.5)
    assert set(split.train) | set(split.test) == set(range(len(y)))
    other = np.roll(y, 1)
    assert score(y, other).n == len(y)
    assert wilson_interval(3, 4)[0] < 0.75 < wilson_interval(3, 4)[1]
    low, high = mean_recall_interval(y, other)
    assert low <= mean_recall(y, other) <= high
    assert paired_difference(y == y, y == other).difference >= 0
    assert 0 <= mcnemar_p(y == y, y == other) <= 1


def use_the_cache(pictures: Pictures, codes: CNNCodes) -> None:
    run = RunOptions(codes.cache, precision="float32", n_jobs=1)
    done = extract(pictures, codes.request(), run)
    assert (done.given, len(done.codes), done.bad) == (40, 40, [])
    assert [each.codes.spec.dim for each in extract_layers(pictures, resolve(codes.request(), run))]
    keys = [row_key(content_digest(item), run.decode_options) for item in pictures.items]
    assert CodeCache(run.cache_dir, done.codes.spec).find(keys).all()
    assert find_exact_copies(pictures, keys, ["train"] * 40) == []
    assert open_engine(codes.request(), run).specs[0].dim == 256
    assert decode(pictures.items[0]).mode == "RGB"
    assert cache_info(run.cache_dir)
    assert not verify_cache(run.cache_dir).problems


def use_protocols(pictures: Pictures, codes: CNNCodes, out: Path) -> None:
    result = evaluate_baseline(pictures, codes, heads=["svm"])
    assert result.to_json()["heads"]["svm"]["accuracy"] == result.heads["svm"].accuracy
    save_page(make_baseline_page(result), out / "fit.html")
    scored = evaluate_model(result.classifier, pictures)
    save_page(make_model_page(scored, str(out / "m.model")), out / "model.html")
    assert advise(pictures, codes).to_json()["recommendation"]
    assert parse_augmentation("light")
    tuned = FineTunedClassifier(codes, recipe="head", epochs=1, augment="none", precision="float32")
    tuned.fit(pictures, pictures.labels)
    assert tuned.plan_.recipe in RECIPES
    assert tuned.kept_ in ("baseline", "fine-tuned")
    assert load_model(tuned.save(out / "tuned.model")).classes_.tolist() == list(tuned.classes_)


def main(folder: str, cache: str) -> None:
    out = Path(cache)
    pictures = load_pictures(folder)
    codes = CNNCodes("embedded", precision="float32", n_jobs=1, cache=cache)
    assert tlfeatures.__version__
    assert describe_backbone(BackboneRequest("embedded"))
    assert "embedded" in {each.name for each in list_backbones()}
    assert len(draw_digits(0)[0]) == 1797
    use_estimators(pictures, codes, out)
    use_heads(codes.transform(pictures), np.asarray(pictures.labels))
    use_evaluation(np.asarray(pictures.labels))
    use_the_cache(pictures, codes)
    use_protocols(pictures, codes, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
