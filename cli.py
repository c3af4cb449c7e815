#!/usr/bin/env python
"""poseshard: PosePile pickles to sharded Zarr v3 stores, and a localizer model trained from them.

Options become frozen settings, settings one call. Whatever is slow to import is imported inside the
command that needs it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from errors import ConfigError, PoseshardError, SourceError, StoreError

EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 130, 143

FILE = click.Path(path_type=Path)
LIST = click.Path(path_type=Path, exists=True, dir_okay=False)
SPLIT = click.Choice(["train", "valid", "test"])


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: the same way out as Ctrl-C, with its own exit code."""


class _Group(click.Group):
    """Prints errors the way errors.py words them, without a traceback, and exits as agreed."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        signal.signal(signal.SIGTERM, _terminate)
        signal.signal(signal.SIGHUP, _terminate)
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.exceptions.Exit as error:
            _leave(error.exit_code)
        except click.ClickException as error:
            error.show()
            _leave(error.exit_code)
        except (KeyboardInterrupt, click.Abort) as error:
            was_terminated = isinstance(error.__cause__, _Terminated)  # click wraps it
            what = "terminated" if was_terminated else "interrupted"
            click.echo(f"{what}; finished work is kept: run the same command again", err=True)
            _leave(EXIT_TERMINATED if was_terminated else EXIT_INTERRUPTED)
        except PoseshardError as error:
            if _wants_traceback():
                raise
            click.echo(f"error: {error}", err=True)
            _leave(EXIT_FAILED)
        except BrokenPipeError:
            _leave(EXIT_FAILED)
        except Exception as error:  # the process edge
            if _wants_traceback():
                raise
            if isinstance(error, OSError) and (found := _fault_of_machine(error)):
                click.echo(f"error: {found}", err=True)
                _leave(EXIT_FAILED)
            click.echo(
                f"error: {type(error).__name__}: {error}\n"
                "  likely cause: a fault of poseshard itself\n"
                "  next: run the same command with --debug and report what it prints",
                err=True,
            )
            _leave(EXIT_FAILED)
        _leave(code if isinstance(code, int) else 0)  # what a command gives to Exit comes back here


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Turn PosePile's pickled datasets into sharded Zarr v3 stores, look at them, train on them.

    \b
    cli.py sample                 make the built-in sample datasets
    cli.py prepare agora          pickle and pictures -> data/stores/agora.zarr
    cli.py view agora             look at what is in it
    dvc repro                     all of it, end to end
    """


@cli.command()
@click.option("--out", type=FILE, help="Folder to write to (default: params.yaml).")
@click.option("--examples", type=click.IntRange(min=1), help="Examples per dataset.")
@click.option("--seed", type=click.IntRange(min=0), help="Same seed, same bytes.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes (default: all cores).")
@click.option("--no-images", is_flag=True, help="Pickles alone, for large numbers of examples.")
def sample(
    out: Path | None, examples: int | None, seed: int | None, jobs: int | None, no_images: bool
) -> None:
    """Make the built-in sample datasets, in genuine PosePile pickle form.

    Example: cli.py sample --out data/sample --examples 800 --seed 1
    """
    import dataclasses

    from stages.sample import write_sample
    from stages.sample.settings import SampleSettings
    from stages.settings import load_section

    default = load_section(SampleSettings, "sample")
    settings = dataclasses.replace(
        default,
        out=out or default.out,
        examples=examples or default.examples,
        seed=default.seed if seed is None else seed,
        jobs=jobs or default.jobs,
    )
    write_sample(settings, with_images=not no_images)


@cli.command()
@click.argument("dataset")
@click.option("--annotations", type=FILE, help="The pickle (default: params.yaml).")
@click.option("--images", type=FILE, help="Folder that image_path is relative to.")
@click.option("--store", type=FILE, help="Where the store goes (default: params.yaml).")
@click.option("--cache", type=FILE, help="Where built blocks live (default: params.yaml).")
@click.option("--excludes", type=LIST, help="Examples to leave out (default: excludes.yaml).")
@click.option("--jobs", type=click.IntRange(min=1), help="Blocks at a time (default: all cores).")
@click.option("--no-images", is_flag=True, help="Annotations alone; no picture is looked at.")
@click.option("--strict", is_flag=True, help="Fail on the first rejected example.")
@click.option("--force", is_flag=True, help="Build every block anew, even if it is cached.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def prepare(
    dataset: str,
    annotations: Path | None,
    images: Path | None,
    store: Path | None,
    cache: Path | None,
    excludes: Path | None,
    jobs: int | None,
    no_images: bool,
    strict: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Turn a pickled dataset into a store. The same command resumes what was interrupted.

    \b
    Examples:
      cli.py prepare agora
      cli.py prepare mydata --annotations mydata.pkl --images /data/mydata --store mydata.zarr
    """
    import dataclasses

    from stages.prepare.run import prepare as run
    from stages.prepare.run import rejected_lines
    from stages.prepare.settings import PrepareSettings, dataset_files
    from stages.settings import load_section

    if Path(dataset).name != dataset or dataset in (".", ".."):
        raise ConfigError(
            f"`{dataset}` is not a name",
            cause="DATASET names the dataset; paths go to --annotations, --images and --store",
            next_command="cli.py prepare NAME --annotations FILE.pkl --images DIR",
        )
    settings = load_section(PrepareSettings, "prepare")
    if cache is not None:
        settings = dataclasses.replace(settings, cache=cache)
    if excludes is not None:
        settings = dataclasses.replace(settings, excludes=excludes)
    files = dataset_files(dataset, annotations=annotations, images=images)
    report = run(
        dataset,
        files,
        store=store or settings.stores / f"{dataset}.zarr",
        settings=settings,
        n_jobs=jobs or _n_cores(),
        with_images=not no_images,
        is_strict=strict,
        must_rebuild=force,
    )
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=1))
        return
    for name, split in report.manifest.splits.items():
        reasons = report.manifest.rejected_by_reason(name)
        rejected = ", ".join(f"{n} {reason}" for reason, n in reasons.items()) or "none"
        click.echo(f"{name}: {split.n_rows} read, {split.n_usable} usable, rejected: {rejected}")
    for line in rejected_lines(report.manifest):
        click.echo(f"  {line}")
    state = "written" if report.was_published else "already up to date"
    built = "1 block" if report.n_built == 1 else f"{report.n_built} blocks"
    click.echo(f"{report.store}: {state} ({built} built, {report.n_reused} reused)")


@cli.command()
@click.argument("datasets", metavar="DATASET|STORE...", nargs=-1, required=True)
@click.option("--split", type=SPLIT, help="Default: the first split that has examples.")
@click.option("--index", metavar="I|A:B", help="Rows, B not included; default: the first few.")
@click.option("--where", multiple=True, metavar="CONDITION", help="Such as valid_points<10.")
@click.option("--random", "n_random", type=click.IntRange(min=1), help="So many, by chance.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the chance.")
@click.option("--save", type=FILE, help="Write FILE.png, .jpg, .pdf, .svg, or .rrd for Rerun.")
@click.option("--augmented", is_flag=True, help="As the training loader hands them out.")
@click.option("--web", is_flag=True, help="Rerun's viewer in the browser, on this machine only.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of --web; default: free.")
def view(
    datasets: tuple[str, ...],
    split: str | None,
    index: str | None,
    where: tuple[str, ...],
    n_random: int | None,
    seed: int,
    save: Path | None,
    augmented: bool,
    web: bool,
    port: int,
) -> None:
    """Draw examples: picture, box, mask, skeleton, and the 3D pose from the front and from above.

    \b
    Examples:
      cli.py view agora
      cli.py view agora --index 0:16 --save agora.png
      cli.py view agora --where "valid_points<10" --where "depth_m>5" --random 12
      cli.py view agora --web
      cli.py view agora mads coco --web
    --where compares one of: valid_points, valid_joints, depth_m, points_behind, root_index,
    box_width, box_height, focal_px, distortion, image_bytes, mask_bytes, status.
    """
    from stages.prepare.settings import store_path
    from stages.view.selection import Selection, parse_condition, parse_index

    try:
        selection = Selection(
            split=split,
            rows=None if index is None else parse_index(index),
            conditions=tuple(parse_condition(text) for text in where),
            n_random=n_random,
            seed=seed,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if web and (augmented or save is not None):
        raise click.UsageError("--web goes neither with --augmented nor with --save FILE")
    if augmented and save is not None and save.suffix == ".rrd":
        raise click.UsageError("--augmented makes pictures, no recordings")
    from stages.view.run import view as run

    run(
        {dataset: store_path(dataset) for dataset in datasets},
        selection,
        save_to=save,
        is_augmented=augmented,
        in_browser=web,
        port=port,
    )
    if save is not None:
        click.echo(f"saved {save}")


@cli.command()
@click.argument("dataset", metavar="DATASET|STORE")
@click.option("--split", type=SPLIT, help="Of --example; default: the first with examples.")
@click.option("--example", type=int, metavar="I", help="All of one example, and where it lies.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def inspect(dataset: str, split: str | None, example: int | None, as_json: bool) -> None:
    """Say what a store holds: splits, columns, sizes, skeleton, provenance.

    \b
    Examples:
      cli.py inspect agora
      cli.py inspect agora --example 7 --split valid
    """
    from stages.inspect.run import inspect as run
    from stages.prepare.settings import store_path

    if split is not None and example is None:
        raise click.UsageError("--split goes with --example I")
    run(store_path(dataset), split=split, row=example, as_json=as_json)


@cli.command()
@click.argument("dataset_or_store")
@click.option("--repair", is_flag=True, help="Replace what is damaged, from cache or source.")
@click.option("--annotations", type=FILE, help="The pickle, for --repair (default: params.yaml).")
@click.option("--images", type=FILE, help="Folder that image_path is relative to, for --repair.")
@click.option("--cache", type=FILE, help="Where built blocks live (default: params.yaml).")
@click.option("--jobs", type=click.IntRange(min=1), help="Blocks at a time (default: all cores).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def verify(
    dataset_or_store: str,
    repair: bool,
    annotations: Path | None,
    images: Path | None,
    cache: Path | None,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Check every byte of a store and every example in it; exits 1 if anything is wrong.

    \b
    Examples:
      cli.py verify agora
      cli.py verify data/stores/agora.zarr --repair
    """
    import dataclasses

    from stages.prepare.settings import PrepareSettings, dataset_files, store_path
    from stages.settings import load_section
    from stages.verify.repair import verify_and_repair
    from stages.verify.run import finding_lines
    from stages.verify.run import verify as run

    store = store_path(dataset_or_store)
    if not repair:
        report = run(store, n_jobs=jobs or _n_cores())
        click.echo(json.dumps(report.to_json(), indent=1) if as_json else report.summary())
    else:
        settings = load_section(PrepareSettings, "prepare")
        if cache is not None:
            settings = dataclasses.replace(settings, cache=cache)
        repaired = verify_and_repair(
            store,
            settings=settings,
            find_files=lambda name: dataset_files(name, annotations=annotations, images=images),
            n_jobs=jobs or _n_cores(),
        )
        report = repaired.left
        click.echo(json.dumps(repaired.to_json(), indent=1) if as_json else repaired.summary())
    if not report.is_sound:
        if not as_json:
            click.echo("\n".join(finding_lines(report.findings)), err=True)
        raise click.exceptions.Exit(EXIT_FAILED)


@cli.command()
@click.argument("datasets", metavar="[DATASET|STORE]...", nargs=-1)
@click.option("--out", type=FILE, help="Folder to write to (default: params.yaml).")
@click.option("--gate", is_flag=True, help="Exit 1 if a figure is beyond its threshold.")
@click.option("--json", "as_json", is_flag=True, help="Print report.json too.")
def report(datasets: tuple[str, ...], out: Path | None, gate: bool, as_json: bool) -> None:
    """Look for wrong labels; write one HTML page and report.json.

    \b
    Examples:
      cli.py report agora behave
      cli.py report data/stores/mads.zarr --out /tmp/mads --gate
    Without arguments, all datasets of params.yaml. Thresholds are there too, under `report`.
    """
    import dataclasses

    from stages.prepare.settings import store_path
    from stages.report.findings import breach_lines
    from stages.report.run import report as run
    from stages.report.settings import ReportSettings
    from stages.settings import load_section

    settings = load_section(ReportSettings, "report")
    if out is not None:
        settings = dataclasses.replace(settings, out=out)
    found = run([store_path(name) for name in datasets or settings.datasets], settings)
    click.echo(found.metrics.read_text() if as_json else "", nl=False)
    for line in breach_lines(found.figures):
        click.echo(line, err=as_json)
    n_stores = len(found.figures)
    summary = f"{found.n_findings or 'no'} finding{'s' if found.n_findings != 1 else ''}"
    summary += f" in {n_stores} store{'s' if n_stores != 1 else ''}: {found.page}"
    click.echo(summary, err=as_json)
    if gate and found.n_findings:
        raise SourceError(
            f"{found.n_findings} figure{'s are' if found.n_findings != 1 else ' is'} "
            "beyond the threshold",
            where=str(found.page),
            cause="wrong labels, or thresholds that do not fit this data",
            next_command="open the page; mend or exclude the examples, "
            "or change `report` in params.yaml",
        )


@cli.command()
@click.option("--store", "stores", type=FILE, multiple=True, help="Train on these stores only.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps (default: params.yaml).")
@click.option("--out", type=FILE, help="Folder of the model (default: params.yaml).")
@click.option("--replay", type=FILE, help="Run a saved batch that was not finite once more.")
def train(
    stores: tuple[Path, ...], steps: int | None, out: Path | None, replay: Path | None
) -> None:
    """Train a localizer from the stores. The same command goes on where a killed run stopped.

    \b
    Examples:
      cli.py train
      cli.py train --store data/stores/mads.zarr --steps 200 --out models/mads_only
      cli.py train --replay models/localizer/not-finite-step-1234.npz
    """
    import dataclasses

    from stages.settings import load_section
    from stages.train import replay as run_again
    from stages.train import run
    from stages.train.settings import TrainSettings

    if replay is not None:
        found = run_again(replay)
        click.echo(f"step {found.step}; in the batch, whoever stands out first:")
        for example in found.examples:
            click.echo(f"  {example}")
        for name, value in found.terms.items():
            click.echo(f"{name}: {value:g}")
        click.echo(f"weights whose gradient is not finite: {len(found.broken_weights)}")
        click.echo("all finite" if found.is_finite else "not finite, as when it stopped the run")
        return
    settings = load_section(TrainSettings, "train")
    if steps is not None:
        optimisation = dataclasses.replace(settings.optimisation, training_steps=steps)
        settings = dataclasses.replace(settings, optimisation=optimisation)
    if out is not None:
        settings = dataclasses.replace(settings, data=dataclasses.replace(settings.data, out=out))
    model = run(settings, stores=stores)
    click.echo(f"saved {model}")


@cli.command()
@click.option("--model", type=FILE, help="Folder of the model (default: params.yaml).")
def export(model: Path | None) -> None:
    """Write a trained model as a SavedModel: picture, camera and body points in, 2D and 3D out.

    `train` does this at its end; docs/using_the_model.md shows how to use it.
    Example: cli.py export --model models/localizer
    """
    from stages.settings import load_section
    from stages.train import export as run
    from stages.train.settings import TrainSettings

    folder = model or load_section(TrainSettings, "train").data.out
    click.echo(f"saved {run(folder)}")


@cli.command()
@click.option("--model", type=FILE, help="Folder of the model (default: params.yaml).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def evaluate(model: Path | None, as_json: bool) -> None:
    """Measure a trained model on people it never saw, beside the mean pose.

    Example: cli.py evaluate --json
    """
    import dataclasses

    from stages.evaluate import run, summary_lines
    from stages.evaluate.settings import EvaluateSettings
    from stages.settings import load_section

    settings = load_section(EvaluateSettings, "evaluate")
    if model is not None:
        settings = dataclasses.replace(settings, model=model)
    metrics = run(settings)
    click.echo(json.dumps(metrics, indent=1) if as_json else "\n".join(summary_lines(metrics)))
    if not as_json:
        click.echo(f"plots and predictions: {settings.out}")


@cli.group()
def cache() -> None:
    """The built blocks that stores are linked from."""


@cache.command("ls")
@click.option("--cache", "directory", type=FILE, help="Which cache (default: params.yaml).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def cache_ls(directory: Path | None, as_json: bool) -> None:
    """List the blocks, their sizes, and the stores that refer to them."""
    from cache.collect import list_blocks

    blocks = list_blocks(directory or _cache_directory())
    if as_json:
        entries = [{"key": b.key, "bytes": b.size_bytes, "stores": list(b.stores)} for b in blocks]
        click.echo(json.dumps(entries, indent=1))
        return
    for block in blocks:
        users = ", ".join(Path(store).stem for store in block.stores) or "-"
        click.echo(f"{block.key[:16]}  {block.size_bytes:>12,}  {users}")
    used = sum(block.size_bytes for block in blocks if block.stores)
    total = sum(block.size_bytes for block in blocks)
    click.echo(f"{len(blocks)} blocks, {total:,} bytes, {total - used:,} of them in no store")


@cache.command("gc")
@click.option("--cache", "directory", type=FILE, help="Which cache (default: params.yaml).")
def cache_gc(directory: Path | None) -> None:
    """Remove the blocks that no published store refers to."""
    from cache.collect import collect_garbage

    removed = collect_garbage(directory or _cache_directory())
    freed = sum(block.size_bytes for block in removed)
    click.echo(f"{len(removed)} blocks removed, {freed:,} bytes freed")


def _cache_directory() -> Path:
    from stages.prepare.settings import PrepareSettings
    from stages.settings import load_section

    return load_section(PrepareSettings, "prepare").cache


def main() -> NoReturn:
    # TensorFlow's notes on how it was built are no news; its warnings are.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    cli.main()
    raise AssertionError("main() leaves by itself")


def _n_cores() -> int:
    return len(os.sched_getaffinity(0))


def _fault_of_machine(error: OSError) -> PoseshardError | None:
    """A full disk, a missing permission and the like; None if it may as well be our fault."""
    from cache.files import way_on

    if (next_command := way_on(error)) is None:
        return None
    where = None if error.filename is None else str(error.filename)
    return StoreError(
        f"the machine refused: {error.strerror}", where=where, next_command=next_command
    )


def _wants_traceback() -> bool:
    return "--debug" in sys.argv


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _leave(code: int) -> NoReturn:
    sys.exit(code)


if __name__ == "__main__":
    main()
