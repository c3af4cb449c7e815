"""`verify`: every byte of a store against its manifest, every example against the invariants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from cache.check import CheckedBlock, Finding, StoreCheck
from cache.manifest import MANIFEST_NAME, USABLE, Manifest
from pipeline.schema import Kind
from stages.verify.invariants import violations
from stages.verify.pictures import broken_pictures


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a `verify` found.

    Attributes:
        store: path.
        findings: everything that is wrong, in the order of the store.
        counts: what was checked: shards, chunks, bytes, examples, pictures.
    """

    store: Path
    findings: tuple[Finding, ...]
    counts: dict[str, int]

    @property
    def is_sound(self) -> bool:
        return not self.findings

    def summary(self) -> str:
        """One line for people."""
        checked = ", ".join(f"{n:,} {what}" for what, n in self.counts.items())
        n = len(self.findings)
        state = "sound" if self.is_sound else f"{n} finding{'s' if n != 1 else ''}"
        return f"{self.store}: {state} ({checked} checked)"

    def to_json(self) -> dict[str, Any]:
        return {
            "store": str(self.store),
            "sound": self.is_sound,
            "checked": self.counts,
            "findings": [
                {
                    "problem": found.problem,
                    "file": found.file,
                    "split": found.split,
                    "column": found.column,
                    "block": found.block,
                    "rows": row_ranges(found.rows),
                    "detail": found.detail,
                }
                for found in self.findings
            ],
        }


def verify(store: Path, *, n_jobs: int = 1) -> VerifyReport:
    """Check a store.

    Args:
        store: path of the store.
        n_jobs: blocks checked at a time.

    Raises:
        StoreError: there is no store.
    """
    return finish_check(StoreCheck.open(store), n_jobs=n_jobs)


def finish_check(check: StoreCheck, *, n_jobs: int = 1) -> VerifyReport:
    """Check the blocks of a store whose files were looked at already."""
    findings = list(check.findings)
    counts = {"shards": 0, "chunks": 0, "bytes": 0, "examples": 0, "pictures": 0}
    kind = _kind(check.attributes)
    store = check.directory.path

    def examine(arguments: tuple[Any, ...]) -> tuple[CheckedBlock, list[Finding]]:
        checked = check.check_block(*arguments)
        return checked, list(_content_findings(check, checked, kind))

    with tqdm(total=check.n_rows, desc=store.stem, unit="examples", delay=0.5) as bar:
        parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator", pre_dispatch=2)
        for checked, about_content in parallel(delayed(examine)(b) for b in check.blocks()):
            findings += [*checked.findings, *about_content]
            counts["shards"] += len(checked.columns) + len(checked.files)
            counts["chunks"] += checked.n_chunks
            counts["bytes"] += checked.n_bytes
            counts["examples"] += len(checked.rows)
            counts["pictures"] += sum(p is not None for f in checked.files.values() for p in f)
            bar.set_postfix(findings=len(findings), refresh=False)
            bar.update(len(checked.rows))
    return VerifyReport(store, tuple(findings), counts)


def _content_findings(
    check: StoreCheck, checked: CheckedBlock, kind: Kind | None
) -> Iterator[Finding]:
    assert check.manifest is not None
    yield from _accounting_findings(check.manifest, checked)
    if kind is None:
        return
    layouts = check.layouts
    widths = {n: lay.row_bytes for n, lay in layouts.items() if f"{n}_length" in layouts}
    for violation in violations(checked.columns, kind=kind, widths=widths):
        rows = np.flatnonzero(violation.rows).tolist()
        yield _finding(check, checked, "invariant", violation.column, violation.rule, rows)
    bad = {row for found in checked.findings for row in found.rows}
    for column, stored in checked.files.items():
        lengths = checked.columns.get(f"{column}_length")
        if lengths is None:
            continue
        for row, detail in broken_pictures(stored, lengths, layouts[column].row_bytes):
            if checked.rows.start + row not in bad:
                yield _finding(check, checked, "picture", column, detail, [row])


def _accounting_findings(manifest: Manifest, checked: CheckedBlock) -> Iterator[Finding]:
    """Compare the rejected rows that the manifest lists with the statuses that are stored."""
    if "status" not in checked.columns:
        return
    status = checked.columns["status"]
    stored = {
        checked.rows.start + row: int(status[row])
        for row in np.flatnonzero(status != USABLE).tolist()
    }
    listed = {
        rejection.row: rejection.status
        for rejection in manifest.splits[checked.split].rejections
        if rejection.row in checked.rows
    }
    if stored != listed:
        rows = {row for row, code in stored.items() ^ listed.items()}
        yield Finding(
            "accounting",
            MANIFEST_NAME,
            "the rejected rows that the manifest lists are not those whose status says so",
            checked.split,
            "status",
            checked.number,
            tuple(sorted(rows)),
        )


def _finding(
    check: StoreCheck,
    checked: CheckedBlock,
    problem: str,
    column: str,
    detail: str,
    rows: list[int],
) -> Finding:
    layout = check.layouts.get(column)
    path = f"{checked.split}/{layout.shard_path(checked.number) if layout else column}"
    numbers = tuple(checked.rows.start + row for row in rows)
    return Finding(problem, path, detail, checked.split, column, checked.number, numbers)


def _kind(attributes: dict[str, Any]) -> Kind | None:
    try:
        return Kind(attributes["kind"])
    except (KeyError, ValueError):
        return None


def row_ranges(rows: tuple[int, ...]) -> list[list[int]]:
    """Row numbers as [first, last] pairs."""
    ranges: list[list[int]] = []
    for row in rows:
        if ranges and row == ranges[-1][1] + 1:
            ranges[-1][1] = row
        else:
            ranges.append([row, row])
    return ranges


def finding_lines(findings: tuple[Finding, ...], *, at_most: int = 20) -> list[str]:
    """Findings for people, a line each."""
    lines = []
    for found in findings[:at_most]:
        place = found.file if found.block is None else f"{found.file} (block {found.block})"
        rows = ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in row_ranges(found.rows)[:8])
        about = f", {found.split} rows {rows}" if rows else ""
        column = f"{found.column}: " if found.column else ""
        lines.append(f"{found.problem}: {place}{about}: {column}{found.detail}")
    more = len(findings) - at_most
    return [*lines, f"... and {more} more"] if more > 0 else lines
