"""`view`: select, read, draw; then save the sheet, open a window or serve the browser."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from cache.files import way_on
from cache.reader import Store
from errors import ConfigError
from pipeline.schema import Kind
from stages.settings import load_section
from stages.view.examples import read_examples, skeleton_of
from stages.view.picture import Style
from stages.view.selection import Selection, first_filled, select_rows
from stages.view.settings import ViewSettings
from stages.view.sheet import make_sheet
from stages.view.surface import BodyMesh

if TYPE_CHECKING:
    from stages.train.settings import TrainSettings

RECORDING = ".rrd"
_WINDOW_PX = (1280, 660)  # with its toolbar, fits most screens
SUFFIXES = (".png", ".jpg", ".pdf", ".svg", RECORDING)


def view(
    stores: Mapping[str, Path],
    selection: Selection,
    *,
    save_to: Path | None,
    is_augmented: bool = False,
    in_browser: bool = False,
    port: int = 0,
) -> None:
    """Show the selected examples of stores: in a file, a window or the browser.

    Args:
        stores: by what the user called them; more than one only in the browser or a recording.
        save_to: a picture, or a recording where the name ends in `.rrd`; None shows them here.
        is_augmented: as the training loader hands them out.
        in_browser: Rerun's viewer in the browser, until interrupted.
        port: of the browser's page; 0 takes a free one.

    Raises:
        StoreError: there is no store, or a shard that is needed is missing, cut or altered.
        ConfigError: the selection does not fit the store, the file cannot be written, or there is
            no display.
    """
    if save_to is not None:
        check_file(save_to)
    settings = load_section(ViewSettings, "view")
    opened = [Store.open(path) for path in stores.values()]
    if in_browser or (save_to is not None and save_to.suffix.lower() == RECORDING):
        _view_recording(opened, selection, settings=settings, save_to=save_to, port=port)
        return
    if len(opened) > 1:
        raise ConfigError(
            "a sheet shows one store",
            cause=f"{len(opened)} were given",
            next_command=f"cli.py view {' '.join(stores)} --web, or --save FILE.rrd; or one store "
            "at a time",
        )
    (dataset,), (store,) = stores, opened
    if save_to is None and not has_display():
        raise ConfigError(
            "there is no display to open a window on",
            cause="neither DISPLAY nor WAYLAND_DISPLAY is set (a terminal over ssh?)",
            next_command=f"cli.py view {dataset} ... --save {store.path.stem}.png, or --web",
        )
    training = None
    if is_augmented:
        from stages.train.settings import TrainSettings

        training = load_section(TrainSettings, "train")
    fits = None if save_to is not None else _WINDOW_PX
    figure = make_view(store, selection, settings=settings, training=training, fits=fits)
    if save_to is not None:
        save(figure, save_to)
    else:
        show(figure, title=dataset)


def _view_recording(
    stores: Sequence[Store],
    selection: Selection,
    *,
    settings: ViewSettings,
    save_to: Path | None,
    port: int,
) -> None:
    from stages.view.web import ShownStore, save_recording, show_in_browser

    shown: list[ShownStore] = []
    for store in stores:
        split = first_filled(store.splits, selection.split)
        selected = select_rows(
            split,
            dataclasses.replace(selection, at_most=max(1, settings.web_at_most // len(stores))),
            attributes=store.attributes,
            n_default=max(1, settings.web_examples // len(stores)),
        )
        is_dense = Kind(store.attributes["kind"]) is Kind.DENSE
        body = body_mesh(settings.body) if is_dense else None
        entity = _entity(str(store.attributes["dataset"]), {one.entity for one in shown})
        shown.append(ShownStore(entity, store, split, selected.rows, body))
    if save_to is not None:
        save_recording(shown, save_to)
    else:
        show_in_browser(shown, port=port, has_display=has_display())


def _entity(dataset: str, taken: Collection[str]) -> str:
    """A name of its own for each store, two of the same dataset included."""
    names = (dataset if n == 1 else f"{dataset}-{n}" for n in itertools.count(1))
    return next(name for name in names if name not in taken)


def make_view(
    store: Store,
    selection: Selection,
    *,
    settings: ViewSettings,
    training: TrainSettings | None = None,
    fits: tuple[int, int] | None = None,
) -> Figure:
    """The sheet of the selected examples.

    Args:
        training: the recipe, to show examples as the training loader hands them out.
        fits: width and height in pixels that the sheet is shrunk to.

    Raises:
        StoreError: a shard that is needed is missing, cut or altered.
        ConfigError: the selection does not fit the store, or the recipe not the data.
    """
    attributes = store.attributes
    split = first_filled(store.splits, selection.split)
    selected = select_rows(split, selection, attributes=attributes, n_default=settings.examples)
    title = f"{attributes['dataset']} · {split.name}: {len(selected.rows)} of {selected.n_found}"
    title += " examples" + "".join(f", {condition}" for condition in selection.conditions)
    if training is None:
        is_dense = Kind(attributes["kind"]) is Kind.DENSE
        mesh = body_mesh(settings.body) if is_dense else None
        examples = read_examples(split, selected.rows, attributes=attributes, body=mesh)
    else:
        from stages.train.canonical_body import load_canonical_body
        from stages.view.augmented import read_augmented

        examples = read_augmented(
            store,
            split.name,
            selected.rows,
            settings=training,
            body=load_canonical_body(training.data.body),
            seed=selection.seed,
        )
        title += ", as the training loader hands them out"
    style = Style(max_side=settings.picture_side)
    return make_sheet(examples, skeleton_of(attributes), title=title, style=style, fits=fits)


def check_file(path: Path) -> None:
    """Refuse what cannot be written before anything is read.

    Raises:
        ConfigError: the file's ending names no picture format, or its folder is not there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"cannot save `{path.name}`",
            cause=f"the ending says the format: {', '.join(SUFFIXES)}",
            next_command=f"--save {path.with_suffix('.png')}",
        )
    if not path.parent.is_dir():
        raise ConfigError(
            f"cannot save `{path.name}`",
            where=str(path),
            cause=f"there is no folder {path.parent}",
            next_command=f"mkdir -p {path.parent}",
        )


def save(figure: Figure, path: Path) -> None:
    """Write the sheet.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        with warnings.catch_warnings():
            # A path in a script that the font lacks is drawn as boxes; that is no news for anyone.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(path)
    except OSError as error:
        raise ConfigError(
            "cannot save the picture",
            where=str(path),
            cause=error.strerror or str(error),
            next_command=way_on(error) or "choose another path for --save",
        ) from error


def has_display() -> bool:
    """Whether a window can be opened here."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def show(figure: Figure, *, title: str) -> None:
    """Open a window with the sheet and wait until it is closed.

    Raises:
        ConfigError: there is no toolkit to open one with.
    """
    from matplotlib import pyplot

    window = pyplot.figure(title, figsize=figure.get_size_inches(), dpi=figure.get_dpi())
    manager = window.canvas.manager
    if pyplot.get_backend().lower() == "agg" or manager is None:
        raise ConfigError(
            "cannot open a window",
            cause="there is a display but neither Tk nor Qt to draw with",
            next_command="add --save FILE.png",
        )
    manager.canvas.figure = figure
    figure.set_canvas(manager.canvas)
    # Tk's loop hears signals only between its own events, and there is nothing here to save.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    pyplot.show()


def body_mesh(path: Path) -> BodyMesh | None:
    """The rest-pose body in a file, None if there is no such file."""
    if not path.is_file():
        return None
    from stages.train.canonical_body import load_canonical_body

    body = load_canonical_body(path)
    return BodyMesh(body.vertices, body.faces)
