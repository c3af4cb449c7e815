"""Does each kind of supervision help? Trained with all four, and with all but one.

    python benchmarks/ablation.py [--steps 2000] [--sample-examples 1600] [--json FILE]
        [--plots FOLDER]

The same settings (`train` in params.yaml, fewer steps), the same seed and as many steps each time;
the kind left out has no place in the batch, the others keep theirs. Everybody is evaluated on a
sample of another seed: other people, other pictures, of every dataset; in mm (3D, root-relative) or
px (2D). The folder given by --work
keeps samples, stores and models, so that a run cut short goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import add_outputs, present
from pipeline.datasets import DATASETS
from stages.evaluate.settings import EvaluateSettings
from stages.prepare.settings import DatasetFiles, PrepareSettings
from stages.sample import SampleSettings, write_sample
from stages.settings import load_section
from stages.train.settings import TrainSettings

ROOT = Path(__file__).resolve().parent.parent
BATCH_SIZES = {
    "param": "batch_size_parametric",
    "kp3d": "batch_size",
    "dense": "batch_size_densepose",
    "kp2d": "batch_size_2d",
}
COLUMNS = {
    "agora": "mpjpe_mm",
    "behave": "mpjpe_mm",
    "mads": "mpjpe_mm",
    "densepose_coco": "error_px",
    "coco": "error_px",
}
EVALUATED_EXAMPLES = 320


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--sample-examples", type=int, default=1600, help="per dataset")
    parser.add_argument("--work", type=Path, default=ROOT / "data/ablation")
    add_outputs(parser)
    parser.add_argument(
        "--train-without", choices=["nothing", *BATCH_SIZES], help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.train_without:
        train_and_evaluate(arguments.train_without, arguments.work, steps=arguments.steps)
        return
    make_stores(arguments.work / "trained", examples=arguments.sample_examples, seed=1)
    make_stores(arguments.work / "fresh", examples=EVALUATED_EXAMPLES, seed=2)
    rows = []
    for left_out in ("nothing", *BATCH_SIZES):
        subprocess.run(  # TensorFlow is set up once per process
            [
                *(sys.executable, __file__, "--train-without", left_out),
                *("--steps", str(arguments.steps), "--work", str(arguments.work)),
            ],
            check=True,
        )
        rows.append({"without": left_out, **errors(arguments.work / left_out)})
    present("ablation", rows, arguments, bars=[c for c in rows[0] if c != "without"])


def make_stores(home: Path, *, examples: int, seed: int) -> None:
    """A sample and its stores, unless they are there."""
    from stages.prepare.run import prepare

    if not (home / "body.npz").exists() or not (home / "densepose_coco.pkl").exists():
        write_sample(SampleSettings(out=home, examples=examples, seed=seed))
    settings = PrepareSettings(stores=home / "stores", cache=home / "blocks")
    for dataset in COLUMNS:
        prepare(
            dataset,
            DatasetFiles(annotations=home / DATASETS[dataset].file_name, images=home),
            store=home / f"stores/{dataset}.zarr",
            settings=settings,
        )


def train_and_evaluate(left_out: str, work: Path, *, steps: int) -> None:
    from stages import evaluate, train

    settings = load_section(TrainSettings, "train")
    sizes = {BATCH_SIZES[left_out]: 0} if left_out in BATCH_SIZES else {}
    model = work / left_out / "model"
    settings = dataclasses.replace(
        settings,
        data=dataclasses.replace(
            settings.data,
            stores=work / "trained/stores",
            body=work / "trained/body.npz",
            out=model,
        ),
        batch=dataclasses.replace(settings.batch, **sizes),
        optimisation=dataclasses.replace(settings.optimisation, training_steps=steps),
    )
    if not (model / "model.keras").exists():
        train.run(settings)
    evaluate.run(
        EvaluateSettings(
            model=model,
            stores=work / "fresh/stores",
            body=work / "trained/body.npz",
            out=work / left_out / "evaluation",
            splits=("train", "valid", "test"),
        )
    )


def errors(folder: Path) -> dict[str, float]:
    """Mean errors per dataset over all splits."""
    found = json.loads((folder / "evaluation/metrics.json").read_text())["datasets"]
    means = {}
    for dataset, metric in COLUMNS.items():
        splits = [entry for entry in found[dataset].values() if isinstance(entry, dict)]
        count = sum(entry["examples"] for entry in splits)
        total = sum(entry["model"][metric] * entry["examples"] for entry in splits)
        means[f"{dataset}_{metric}"] = total / count
    return means


if __name__ == "__main__":
    main()
