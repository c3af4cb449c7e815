"""The page: findings first, then what else was measured, with nothing outside of the file."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.report import charts
from stages.report.findings import Figure, allowed, written
from stages.report.scan import Scan
from stages.report.tally import Suspect
from stages.view import palette

_STYLESHEET = Path(__file__).with_name("page.css")
_KINDS = {
    "kp3d": "3D joints",
    "param": "3D joints and body parameters",
    "kp2d": "2D joints",
    "dense": "surface points and 2D joints",
}
# Quantity, title, unit; drawn where it was measured.
_HISTOGRAMS = (
    ("depth_m", "Depth of the root", " m"),
    ("view_deg", "Field of view", "°"),
    ("picture_side_px", "Size of the picture (√area)", " px"),
    ("box_side_px", "Size of the box (√area)", " px"),
    ("body_m", "Body along its bones", " m"),
    ("bone_factor", "Worst bone, off by the factor", "×"),
    ("bone_factor_2d", "Longest bone over the usual longest", "×"),
    ("handedness", "Handedness (−1: sides swapped)", ""),
    ("twist_cosine", "Hips against shoulders (cosine)", ""),
    ("box_ratio", "Box over joints", "×"),
    ("box_offset", "Box to joints, in box diagonals", ""),
    ("share_in_box", "Joints in the box (share)", ""),
    ("share_on_mask", "Joints on the mask (share)", ""),
    ("outline_contrast", "Mask's outline in the picture (contrast)", "×"),
    ("surface_sides", "Surface points at joints of their side", ""),
    ("brightness", "Brightest hundredth of the picture", ""),
)


@dataclass(frozen=True, slots=True)
class Chapter:
    """What the page says of one store.

    Attributes:
        name: what the reader calls it; unique on the page.
        store: its path, as given.
        attributes: of the store.
        scan, figures: what was found.
        thumbnails: `data:` addresses by split and row.
    """

    name: str
    store: str
    attributes: Mapping[str, Any]
    scan: Scan
    figures: tuple[Figure, ...]
    thumbnails: Mapping[tuple[str, int], str]

    @property
    def breaches(self) -> tuple[Figure, ...]:
        return tuple(figure for figure in self.figures if figure.is_breach)


def make_page(chapters: Sequence[Chapter]) -> str:
    """The whole HTML document."""
    n_findings = sum(len(chapter.breaches) for chapter in chapters)
    verdict = (
        f"{n_findings} finding{'s' if n_findings != 1 else ''}" if n_findings else "No finding"
    )
    # Those with findings come first.
    ordered = sorted(chapters, key=lambda chapter: not chapter.breaches)
    cards = "".join(_card(chapter) for chapter in ordered)
    body = "".join(_chapter(chapter) for chapter in ordered)
    n_examples = sum(chapter.scan.n_usable for chapter in chapters)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Labels: "
        f"{_text(verdict.lower())}</title><style>{_STYLESHEET.read_text(encoding='utf-8')}</style></head><body>"
        f"<header><p class=kicker>poseshard label report</p><h1>{verdict}</h1>"
        f"<p class=lead>{n_examples:,} usable examples in {len(chapters)} "
        f"dataset{'s' if len(chapters) != 1 else ''}. A finding is a figure beyond its "
        f"threshold; it "
        "shows where to look, and the pictures below it are the examples that are furthest off. "
        "Thresholds are in <code>params.yaml</code> under <code>report</code>.</p>"
        f"<nav>{cards}</nav>{_colour_key()}</header><main>{body}</main></body></html>\n"
    )


def _colour_key() -> str:
    """What the colours in the drawn examples mean: the viewer's own."""
    items = "".join(
        f'<span><i style="background:rgb{colour}"></i>{name}</span>'
        for name, colour in (
            ("left", palette.LEFT),
            ("right", palette.RIGHT),
            ("middle", palette.MIDDLE),
            ("box", palette.BOX),
            ("mask", palette.MASK),
            ("root", palette.ROOT),
        )
    )
    return f"<p class=key>In the pictures: {items}</p>"


def _card(chapter: Chapter) -> str:
    count = len(chapter.breaches)
    state = f"{count} finding{'s' if count != 1 else ''}" if count else "no finding"
    return (
        f'<a class="card {"bad" if count else "good"}" href="#{_anchor(chapter.name)}">'
        f"<b>{_text(chapter.name)}</b><span>{state}</span>"
        f"<small>{chapter.scan.n_usable:,} examples</small></a>"
    )


def _chapter(chapter: Chapter) -> str:
    kind = _KINDS.get(str(chapter.attributes["kind"]), str(chapter.attributes["kind"]))
    findings = "".join(_finding(chapter, figure) for figure in chapter.breaches)
    if not findings:
        findings = "<p class=clean>Every figure is within its threshold.</p>"
    return (
        f'<section id="{_anchor(chapter.name)}"><h2>{_text(chapter.name)}</h2>'
        f"<p class=sub>{_text(kind)} · <code>{_text(chapter.store)}</code></p>{findings}"
        f"{_all_figures(chapter)}{_distributions(chapter)}{_contents(chapter)}{_looked_at(chapter)}"
        "</section>"
    )


def _finding(chapter: Chapter, figure: Figure) -> str:
    if figure.example_bound:
        count = (
            f"{figure.n_suspects:,} of {figure.n_examined:,} examples: "
            f"{_text(figure.example_bound)}"
        )
        if figure.n_suspects > len(figure.suspects):
            count += f"; the worst {len(figure.suspects)} are shown"
    else:
        count = f"over {figure.n_examined:,} examples"
    of_what = "<small>of the examples</small>" if figure.example_bound else ""
    hint = f"<p class=hint>{_text(figure.hint)}</p>" if figure.hint else ""
    return (
        f'<article class=finding id="{_anchor(chapter.name)}-{figure.key}">'
        f"<div class=numbers><strong>{_text(written(figure))}</strong>{of_what}"
        f"<span>allowed: {_text(allowed(figure))}</span><small>{count}</small></div>"
        f"<div class=words><h3>{_text(figure.title)}</h3><p>{_text(figure.meaning)}</p>{hint}"
        f"<p class=causes><b>Likely causes.</b> {_text(figure.causes)}</p></div>"
        f"{_gallery(chapter, figure)}</article>"
    )


def _gallery(chapter: Chapter, figure: Figure) -> str:
    tiles = "".join(_tile(chapter, figure, suspect) for suspect in figure.suspects)
    return f"<div class=gallery>{tiles}</div>" if tiles else ""


def _tile(chapter: Chapter, figure: Figure, suspect: Suspect) -> str:
    place = f"{suspect.split}[{suspect.row}]"
    value = f"{suspect.value:.3g}{figure.example_unit}" if figure.example_bound else ""
    value = value.replace("-", "−")
    note = " · ".join(part for part in (value, suspect.note) if part)
    address = chapter.thumbnails.get((suspect.split, suspect.row))
    picture = (
        f'<img src="{address}" alt="{_text(place)} of {_text(chapter.name)}" loading="lazy">'
        if address
        else ""
    )
    command = f"cli.py view {chapter.store} --split {suspect.split} --index {suspect.row}"
    return (
        f'<figure title="{_text(command)}">{picture}<figcaption><b>{_text(place)}</b> '
        f"{_text(note)}</figcaption></figure>"
    )


def _all_figures(chapter: Chapter) -> str:
    rows = "".join(
        f'<tr class="{"bad" if figure.is_breach else ""}"><td>{_text(figure.title)}'
        f"<small>{figure.key}</small></td><td>{_text(written(figure))}</td>"
        f"<td>{_text(allowed(figure))}</td><td>{figure.n_examined:,}</td></tr>"
        for figure in chapter.figures
    )
    return (
        f"<details><summary>All {len(chapter.figures)} figures beside their thresholds</summary>"
        "<div class=scroll><table><thead><tr><th>What would be "
        "wrong</th><th>figure</th><th>allowed</th>"
        f"<th>examples</th></tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _distributions(chapter: Chapter) -> str:
    drawn = []
    for quantity, title, unit in _HISTOGRAMS:
        tally = chapter.scan.tallies.get(quantity)
        if tally is not None and tally.n_measured:
            drawn.append(
                charts.histogram(
                    tally.sample, title=title, unit=unit, low=tally.low, high=tally.high
                )
            )
    if len(chapter.scan.pose_distances):
        distances = chapter.scan.pose_distances[:: max(1, len(chapter.scan.pose_distances) // 4096)]
        drawn.append(charts.histogram(distances, title="Difference between two poses"))
    return (
        "<details open><summary>Distributions</summary><p class=sub>Solid line: median. Dashed: "
        "from where on an example is suspect, if that is near. Point at a bar for its count.</p>"
        f"<div class=charts>{''.join(drawn)}</div></details>"
    )


def _contents(chapter: Chapter) -> str:
    scan = chapter.scan
    names = list(dict.fromkeys(s for counts in scan.statuses.values() for s in counts))
    head = "".join(f"<th>{_text(name.replace('_', ' '))}</th>" for name in names)
    rows = "".join(
        f"<tr><td>{_text(split)}</td>"
        + "".join(f"<td>{counts.get(name, 0):,}</td>" for name in names)
        + "</tr>"
        for split, counts in scan.statuses.items()
        if sum(counts.values())
    )
    n_usable = max(1, scan.n_usable)
    joints = chapter.attributes["joint_names"]
    shares = {n: float(v) / n_usable for n, v in zip(joints, scan.validity, strict=True)}
    return (
        "<details><summary>Examples, joints and bones</summary>"
        f"<div "
        f"class=scroll><table><thead><tr><th>split</th>{head}</tr></thead><tbody>{rows}</tbody>"
        f"</table></div>{charts.bars(shares, title='Examples in which a joint is valid')}"
        f"{_bones(chapter)}</details>"
    )


def _bones(chapter: Chapter) -> str:
    reference = chapter.scan.reference
    names, model = reference.skeleton.joint_names, reference.bones
    usual = model.length if reference.is_3d else model.ceiling
    unit, factor = (" cm", 100.0) if reference.is_3d else (" %", 100.0)
    rows = []
    for n, (i, j) in enumerate(reference.skeleton.edges):
        if not np.isfinite(usual[n]):
            continue
        twin = int(reference.twins[n])
        other = usual[twin] if twin >= 0 else np.nan
        differs = f"{200 * abs(usual[n] - other) / (usual[n] + other):.1f} %" if twin >= 0 else ""
        spread = f"{100 * model.spread[n]:.0f} %" if reference.is_3d else ""
        rows.append(
            f"<tr><td>{_text(names[i])} – "
            f"{_text(names[j])}</td><td>{factor * usual[n]:.1f}{unit}</td>"
            f"<td>{spread}</td><td>{differs}</td></tr>"
        )
    what = "median" if reference.is_3d else "longest usual, of the box diagonal"
    return (
        f"<h4>Bones</h4><div class=scroll><table><thead><tr><th>bone</th><th>{what}</th>"
        "<th>spread (4 % at least)</th><th>left against right</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _looked_at(chapter: Chapter) -> str:
    sampled = chapter.scan.sampled
    return (
        f"<p class=sub>Columns and picture files: all {chapter.scan.n_usable:,} usable "
        f"examples. What is "
        f"usual was learnt from {sampled['reference']:,}, masks were compared in "
        f"{sampled['masks']:,} and "
        f"pictures decoded in {sampled['pictures']:,} of them, drawn by seed. "
        f"{chapter.scan.n_near_copies:,} of the decoded pictures look nearly like another of "
        f"them.</p>"
    )


def _anchor(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def _text(words: str) -> str:
    return html.escape("".join(c if c.isprintable() else "�" for c in words))
