"""The built-in sample data: five datasets of made-up people in genuine PosePile form."""

from __future__ import annotations

from stages.sample.settings import SampleSettings

__all__ = ["SampleSettings", "write_sample"]


def write_sample(
    settings: SampleSettings, *, with_images: bool = True, progress: bool = True
) -> None:
    """See `stages.sample.writing.write_sample`; imports what it needs only when it is called."""
    from stages.sample import writing

    writing.write_sample(settings, with_images=with_images, progress=progress)
