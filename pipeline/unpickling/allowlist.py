"""Every global that a genuine pickle may name, and what stands in for it. All else is refused.

Pairs are exact: no prefixes, no dotted paths, nothing is imported or looked up.
"""

from __future__ import annotations

from types import MappingProxyType

from pipeline.unpickling import standins

_STANDINS: dict[object, dict[str, tuple[str, ...]]] = {
    # stand-in: {name: modules}
    standins.Pose3DDataset: {"Pose3DDataset": ("data.datasets3d", "posepile.datasets3d")},
    standins.Pose3DExample: {"Pose3DExample": ("data.datasets3d", "posepile.datasets3d")},
    standins.SparseCoords: {"SparseCoords": ("data.datasets3d", "posepile.datasets3d")},
    standins.Pose2DDataset: {"Pose2DDataset": ("data.datasets2d", "posepile.datasets2d")},
    standins.Pose2DExample: {"Pose2DExample": ("data.datasets2d", "posepile.datasets2d")},
    standins.JointInfo: {"JointInfo": ("data.joint_info", "posepile.joint_info")},
    standins.AttributeDict: {
        "AttrDict": ("attrdict.dictionary", "attrdict"),
        "Dict": ("addict.addict", "addict"),
    },
    standins.Camera: {
        "Camera": (
            "cameralib",
            "cameralib.cameralib",
            "cameravision",
            "cameravision.cameravision",
            "deltacamera",
            "deltacamera.core",
        )
    },
    standins.BrownConradyEx: {
        "BrownConradyEx": ("deltacamera", "deltacamera.distortion_models"),
    },
    standins.FisheyeKannalaBrandt: {
        "FisheyeKannalaBrandt": ("deltacamera", "deltacamera.distortion_models"),
    },
    standins.deltacamera_array: {"_reconstruct_array": ("deltacamera.decorators",)},
    standins.array_from_buffer: {"_frombuffer": ("numpy.core.numeric", "numpy._core.numeric")},
    standins.array_to_be_filled: {
        "_reconstruct": ("numpy.core.multiarray", "numpy._core.multiarray"),
    },
    standins.numpy_scalar: {"scalar": ("numpy.core.multiarray", "numpy._core.multiarray")},
    standins.DType: {"dtype": ("numpy",)},
    standins.NDARRAY: {"ndarray": ("numpy",)},
    standins.TUPLE: {"tuple": ("builtins", "__builtin__")},
    standins.latin1_bytes: {"encode": ("_codecs",)},
    standins.empty_bytes: {"bytes": ("builtins", "__builtin__")},
    standins.RLE_MASK: {"RLEMask": ("rlemasklib", "rlemasklib.oop")},
    standins.rle_mask: {"RLEMask.from_dict": ("rlemasklib", "rlemasklib.oop")},
    standins.rle_mask_constructor: {"getattr": ("builtins", "__builtin__")},
}

ALLOWED = MappingProxyType(
    {
        (module, name): standin
        for standin, names in _STANDINS.items()
        for name, modules in names.items()
        for module in modules
    }
)
"""(module, name) -> stand-in."""
