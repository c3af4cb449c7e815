"""Every number of the training recipe, with the published default; light to import.

Names are those of the reference's flags where it has one. Where its two published versions differ,
the default is that of the first (December 2024); both values stand beside the field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import ConfigError
from pipeline.schema import SPLITS
from stages.settings import PROJECT_ROOT

# Interleaving weights by source. An example belongs to the first source whose name begins its
# picture's path; within a kind, batches are shared out in proportion to these.
PARAM_WEIGHTS: Mapping[str, float] = {
    "agora": 10,
    "bedlam": 16,
    "rich": 5,
    "behave": 5,
    "spec": 3,
    "surreal": 8,
    "moyo": 8,
    "arctic": 3,
    "intercap": 3,
    "genebody": 1,
    "egobody": 1,
    "hi4d_down": 3,
    "hi4d_rerender": 8,
    "humman": 2,
    "synbody_humannerf": 6,
    "thuman2": 6,
    "zjumocap": 1,
    "dfaust_render": 8,
}
KP3D_WEIGHTS: Mapping[str, float] = {
    "h36m_": 10,
    "muco_downscaled": 6,
    "humbi": 5,
    "3doh_down": 3,
    "panoptic_": 7,
    "aist_": 6,
    "aspset_": 4,
    "gpa_": 4,
    "3dpeople": 4,
    "sailvos": 5,
    "bml_movi": 5,
    "mads_down": 2,
    "umpm_down": 2,
    "bmhad_down": 3,
    "3dhp_full_down": 3,
    "totalcapture": 3,
    "jta_down": 3,
    "ikea_down": 2,
    "human4d": 1,
    "fit3d_": 2,
    "chi3d_": 1,
    "humansc3d_": 1,
    "hspace_": 3,
    "egohumans": 6,
    "dna_rendering": 6,
}
DENSE_WEIGHTS: Mapping[str, float] = {"densepose_coco_": 14, "densepose_posetrack_": 7}
KP2D_WEIGHTS: Mapping[str, float] = {
    "mpii_down": 4,
    "coco_": 4,
    "jrdb_down": 4,
    "posetrack_down": 4,
    "aic_down": 4,
    "halpe": 4,
}


@dataclass(frozen=True, slots=True)
class LossSettings:
    """The losses and how they add up.

    `beta_nll` lies between 0 (a plain likelihood, which neglects hard points) and 1 (the default,
    which gives every point the weight it would have without an uncertainty). `charb_eps` 0 selects
    the exact norm, whose gradient at zero is zero.
    """

    nll_loss: bool = True
    beta_nll: float = 1.0
    charb_eps: float = 0.0
    charb_eps_without_uncert: float = 0.02
    fix_uncert_factor: bool = False  # log term × 1/sqrt(D) instead of sqrt(D)
    absloss_factor: float = 0.1
    absloss_start_step: int = 5000  # before it the absolute loss has a value but no gradient
    absloss_uncert_factor: float = 4.0
    absloss_full_depth_m: float = 5.0  # depth errors count fully up to this true depth
    min_true_depth_m: float = 0.3  # nearer points have only a relative loss
    loss2d_border: float = -20.0  # strides at a 256 px crop; negative: beyond the crop
    loss_factor_param: float = 1.0
    loss_factor_kp: float = 0.75
    loss_factor_dense: float = 0.05
    loss_factor_2d: float = 0.1

    def __post_init__(self) -> None:
        _require(0 <= self.beta_nll <= 1, f"beta_nll must lie in 0...1, not {self.beta_nll}")
        _require_not_negative(
            self, "charb_eps", "charb_eps_without_uncert", "absloss_factor", "absloss_start_step"
        )
        _require_not_negative(
            self, "loss_factor_param", "loss_factor_kp", "loss_factor_dense", "loss_factor_2d"
        )
        _require_positive(self, "absloss_uncert_factor", "absloss_full_depth_m")


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """The heat maps, their read-out, and the way from them to absolute coordinates."""

    proc_side: int = 256  # px, the network's input
    stride_train: int = 32
    stride_test: int = 32
    centered_stride: bool = True
    depth: int = 8
    box_size_m: float = 2.2
    uncert_bias: float = 0.0
    uncert_bias2: float = 0.001
    weak_perspective: bool = False  # at inference
    weak_perspective_steps: int = 500  # in training, counted in optimiser steps
    mix_3d_inside_fov: float = 0.5  # drawn per example in training
    fullpersp_l2_regul: float = 1e-4
    min_projection_depth_m: float = 0.001  # 0.1 in the second version
    in_front_depth_m: float = 0.001
    max_uncert: float = 0.3  # less certain points do not take part in the reconstruction
    max_uncert_start: float = 0.1  # fraction of the training from which that holds
    truth_border: float = 0.5  # strides; truth nearer the edge does not take part

    def __post_init__(self) -> None:
        _require_positive(
            self, "proc_side", "stride_train", "stride_test", "depth", "box_size_m", "max_uncert"
        )
        _require_positive(self, "min_projection_depth_m", "uncert_bias2")
        _require_not_negative(self, "in_front_depth_m", "fullpersp_l2_regul")
        _require_fraction(self, "mix_3d_inside_fov", "max_uncert_start")
        for stride in (self.stride_train, self.stride_test):
            _require(
                self.proc_side % stride == 0,
                f"proc_side {self.proc_side} is not a multiple of the stride {stride}",
            )


@dataclass(frozen=True, slots=True)
class CropSettings:
    """Cropping and augmentation, in training unless a name ends in `_test`."""

    geom_aug: bool = True
    hflip_aug: bool = True
    rot_aug: float = 20.0  # degrees
    full_rot_aug_prob: float = 0.1
    scale_aug_up: float = 25.0  # percent
    scale_aug_down: float = 25.0  # percent
    shift_aug: float = 10.0  # percent of the larger box side
    partial_visibility_prob: float = 0.15
    occlude_aug_prob: float = 0.5
    occlude_aug_scale: float = 1.0
    background_aug_prob: float = 0.7
    background_aug_prob_real: float = 0.2  # pictures of real or realistic scenes
    background_aug_prob_grey: float = 1.0  # renders without a scene
    color_aug: bool = True
    color_aug_strength: float = 1.0  # scales all four changes of colour
    jpeg_aug_prob: float = 0.25
    jpeg_quality_min: int = 15
    jpeg_quality_max: int = 59
    augment_border_prob: float = 0.0
    border_value: int = 0
    antialias_train: int = 1  # supersampling; 1 = plain warp
    antialias_test: int = 1
    image_interpolation_train: str = "linear"
    image_interpolation_test: str = "linear"
    trainer_flip_prob: float = 0.5  # mirrored by the trainer, besides the loader's flip
    test_aug: bool = False  # also in the validation during training

    def __post_init__(self) -> None:
        _require_fraction(
            self,
            "full_rot_aug_prob",
            "partial_visibility_prob",
            "occlude_aug_prob",
            "background_aug_prob",
            "background_aug_prob_real",
            "background_aug_prob_grey",
            "jpeg_aug_prob",
            "augment_border_prob",
            "trainer_flip_prob",
        )
        _require_not_negative(self, "rot_aug", "scale_aug_up", "scale_aug_down", "shift_aug")
        _require_positive(self, "antialias_train", "antialias_test", "occlude_aug_scale")
        _require(self.scale_aug_down < 100, "scale_aug_down must stay below 100 percent")
        _require(0 <= self.border_value <= 255, "border_value must be a byte")
        for name in (self.image_interpolation_train, self.image_interpolation_test):
            _require(
                name in ("nearest", "linear", "cubic"),
                f"image interpolation must be nearest, linear or cubic, not {name!r}",
            )
        _require(
            0 <= self.jpeg_quality_min <= self.jpeg_quality_max <= 100,
            "JPEG qualities must lie in 0...100, the lower one first",
        )


@dataclass(frozen=True, slots=True)
class OptimisationSettings:
    """Adam, its learning rate over time, precision, checkpoints."""

    training_steps: int | None = None  # no published default: must be given
    stop_step: int | None = None
    base_learning_rate: float = 2.121e-4
    lr_warmup_steps: int = 1000
    lr_decay: float = 1 / 3  # over the main phase
    lr_cooldown_fraction: float = 0.08
    lr_cooldown_factor: float = 1 / 30  # of the base rate, where the cool-down starts
    lr_cooldown_decay: float = 0.3
    field_lr_factor: float = 1.0
    dual_finetune_lr: bool = False
    backbone_lr_factor: float = 0.15
    backbone_frozen_steps: int = 3000
    backbone_warmup_steps: int = 2000
    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    adam_epsilon: float = 1e-8
    weight_decay: float = 0.003  # divided by sqrt(training_steps) and the base rate
    decay_field: bool = False
    ema_momentum: float = 1.0  # 1 = off
    loss_scale: float = 128.0
    dynamic_loss_scale: bool = False
    grad_accum_steps: int = 1
    constrain_kernel_norm: float = 20.0
    constraint_rate: float = 1.0
    dtype: str = "float16"
    finetune_in_inference_mode: int = 0
    multi_gpu: bool = False
    seed: int = 1
    validate_period: int | None = None
    checkpoint_period: int = 2000
    checkpoints_kept: int = 2

    def __post_init__(self) -> None:
        for name in ("training_steps", "stop_step", "validate_period"):
            value = getattr(self, name)
            _require(value is None or value > 0, f"{name} must be positive or left out")
        _require_positive(
            self, "base_learning_rate", "grad_accum_steps", "checkpoint_period", "checkpoints_kept"
        )
        _require_positive(self, "lr_decay", "lr_cooldown_factor", "lr_cooldown_decay", "loss_scale")
        _require_not_negative(self, "lr_warmup_steps", "field_lr_factor", "weight_decay")
        _require_not_negative(self, "backbone_frozen_steps", "backbone_warmup_steps")
        _require_fraction(self, "lr_cooldown_fraction", "ema_momentum", "constraint_rate")
        _require(
            self.dtype in ("float16", "bfloat16", "float32"),
            f"dtype must be float16, bfloat16 or float32, not {self.dtype!r}",
        )

    @property
    def required_training_steps(self) -> int:
        """T of the schedules.

        Raises:
            ConfigError: it was not given.
        """
        if self.training_steps is None:
            raise ConfigError(
                "the number of training steps is not set",
                where="params.yaml: train.optimisation.training_steps",
                cause="the schedules depend on it and it has no default",
            )
        return self.training_steps


@dataclass(frozen=True, slots=True)
class NormSettings:
    """Batch renormalisation and the ramp by which it departs from plain batch normalisation.

    `ghost_bn` names the sizes, comma-separated, of the parts of a batch that are normalised each by
    its own statistics, such as `64,32,20,32` for the four kinds; they add up to the examples that a
    device sees at once. `group_norm` normalises each example by itself and rules both others out.
    """

    batch_renorm: bool = True
    group_norm: bool = False
    ghost_bn: str = ""
    momentum: float = 0.9
    epsilon: float = 1e-3
    renorm_limit_scale: float = 1.0
    renorm_start_step: int = 7500
    renorm_ramp_steps: int = 10000
    renorm_rmax: float = 3.0
    renorm_dmax: float = 5.0

    def __post_init__(self) -> None:
        _require_fraction(self, "momentum")
        _require_positive(self, "epsilon", "renorm_ramp_steps", "renorm_limit_scale")
        _require_not_negative(self, "renorm_start_step", "renorm_dmax")
        _require(self.renorm_rmax >= 1, "renorm_rmax must be at least 1")
        _require(
            not (self.group_norm and self.batch_renorm),
            "group_norm and batch_renorm exclude each other: set one of them to false",
        )
        _require(
            not (self.group_norm and self.ghost_bn),
            "group_norm and ghost_bn exclude each other: leave one of them out",
        )
        sizes = self.ghost_bn.split(",") if self.ghost_bn else []
        _require(
            all(size.strip().isdecimal() and int(size) > 0 for size in sizes),
            f"ghost_bn must be sizes such as 64,32,20,32, not {self.ghost_bn!r}",
        )

    @property
    def ghost_parts(self) -> tuple[int, ...]:
        """Sizes of the parts that are normalised by themselves; none: the batch is one."""
        return tuple(int(size) for size in self.ghost_bn.split(",")) if self.ghost_bn else ()


@dataclass(frozen=True, slots=True)
class BackboneSettings:
    """The picture encoder and the layer that links it to the head."""

    backbone: str = "efficientnetv2-s"
    backbone_link_dim: int = 512
    survival_prob: float = 0.8
    load_backbone_from: str | None = None
    init_path: str | None = None

    def __post_init__(self) -> None:
        _require_positive(self, "backbone_link_dim", "survival_prob")


@dataclass(frozen=True, slots=True)
class FieldSettings:
    """The point field: from a canonical query point to the weights of its heat maps.

    `lbo_zero_first` sets the first feature of the signature to zero: the lowest frequency, which
    outweighs the others by its small eigenvalue. Of a gps field, `init_lbo` fits the features to
    the eigenfunctions before training; the `lbo_pretrain_` numbers say how.
    """

    field_type: str = "gps"
    field_posenc_dim: int = 1024
    field_fourier_dim: int = 512
    field_fourier_stddev: float = 12.0
    field_gps_hidden_size: int = 2048
    field_hidden_layers: int = 1
    field_hidden_size: int = 384
    lbo_eigval_regul: float = 1e-4
    lbo_eigval_scale: float = 0.1  # signature = scale · eigenfunction / sqrt(eigenvalue)
    lbo_concat_coord: bool = False
    lbo_zero_first: bool = False
    init_lbo: bool = True
    lbo_inner_nodes: int = 16000  # of the tetrahedra inside the canonical mesh, about
    lbo_pretrain_steps: int = 200_000
    lbo_pretrain_batch: int = 1024
    lbo_pretrain_learning_rate: float = 1e-2  # falls to 0 along a cosine
    finetune_gps: bool = True
    query_float16: bool = True  # queries are rounded to half precision, about 1 mm
    trainable_canonical_joints: bool = True
    max_canonical_offset: float = 0.07  # m, per joint

    def __post_init__(self) -> None:
        _require(
            self.field_type in ("gps", "fourier", "vanilla"),
            f"field_type must be gps, fourier or vanilla, not {self.field_type!r}",
        )
        _require_positive(self, "field_posenc_dim", "field_hidden_size", "field_gps_hidden_size")
        _require(
            self.field_fourier_dim > 0 and self.field_fourier_dim % 2 == 0,
            "field_fourier_dim must be even: it counts sines and cosines",
        )
        _require_positive(
            self, "lbo_inner_nodes", "lbo_pretrain_batch", "lbo_pretrain_learning_rate"
        )
        _require_not_negative(self, "lbo_pretrain_steps")
        _require_not_negative(self, "field_hidden_layers", "lbo_eigval_regul")
        _require_not_negative(self, "max_canonical_offset")


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How many examples of which kind and source make a step, and how many points each has."""

    batch_size_parametric: int = 64
    batch_size: int = 32  # 3D keypoints
    batch_size_densepose: int = 20
    batch_size_2d: int = 32
    batch_size_test: int = 150
    num_points: int = 1024
    num_surface_points: int = 640
    num_internal_points: int = 384
    # Slots without an annotated point get an unlabelled one, as published. It has neither loss nor
    # influence, so that without them a step is cheaper and its result the same.
    unlabelled_fillers: bool = True
    weights_param: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: dict(PARAM_WEIGHTS)
    )
    weights_kp3d: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: dict(KP3D_WEIGHTS)
    )
    weights_dense: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: dict(DENSE_WEIGHTS)
    )
    weights_2d: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(KP2D_WEIGHTS))

    def __post_init__(self) -> None:
        _require_not_negative(
            self, "batch_size_parametric", "batch_size", "batch_size_densepose", "batch_size_2d"
        )
        _require_positive(self, "batch_size_test", "num_points")
        _require(
            self.num_surface_points + self.num_internal_points == self.num_points,
            "num_surface_points and num_internal_points must add up to num_points",
        )
        for weights in (
            self.weights_param,
            self.weights_kp3d,
            self.weights_dense,
            self.weights_2d,
        ):
            _require(all(w >= 0 for w in weights.values()), "a source's weight is negative")


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Where training reads and writes, and how pictures are fetched.

    Attributes:
        stores: the folder of the stores.
        datasets: the stores to train from, without `.zarr`.
        body: the canonical body; made by the sample stage, or from SMPL-X.
        body_models: the folder of body-model files as smplfitter reads them (`smpl`, `smplx`,
            `smplh` or `smplh16` below it); None: parametric datasets are trained by their joints.
        out: the folder of the model, its checkpoints and its learning curve.
        splits: splits to train from.
        splits_2d: the same for 2D keypoints; the published run adds `valid`, which is then no
            longer held out.
        backgrounds: a folder of pictures without people; None: generated textures.
        occluders: a folder of cut-outs with alpha channel; None: generated shapes.
        loader_threads: threads that decode and augment.
        prefetch_batches: batches kept ready.
        deterministic: same bits on every run, at some cost of speed on a GPU.
    """

    stores: Path = PROJECT_ROOT / "data/stores"
    datasets: tuple[str, ...] = ("agora", "behave", "mads", "coco", "densepose_coco")
    body: Path = PROJECT_ROOT / "data/sample/body.npz"
    body_models: Path | None = None
    out: Path = PROJECT_ROOT / "models/localizer"
    splits: tuple[str, ...] = ("train",)
    splits_2d: tuple[str, ...] = ("train", "valid")
    backgrounds: Path | None = None
    occluders: Path | None = None
    loader_threads: int = 8
    prefetch_batches: float = 4.0
    deterministic: bool = True

    def __post_init__(self) -> None:
        _require(bool(self.datasets), "datasets must name at least one store")
        _require(len(set(self.datasets)) == len(self.datasets), "a dataset is listed twice")
        for split in (*self.splits, *self.splits_2d):
            _require(split in SPLITS, f"a split is train, valid or test, not {split!r}")
        _require_positive(self, "loader_threads", "prefetch_batches")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Section `train` of params.yaml."""

    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    loss: LossSettings = dataclasses.field(default_factory=LossSettings)
    head: HeadSettings = dataclasses.field(default_factory=HeadSettings)
    crop: CropSettings = dataclasses.field(default_factory=CropSettings)
    optimisation: OptimisationSettings = dataclasses.field(default_factory=OptimisationSettings)
    norm: NormSettings = dataclasses.field(default_factory=NormSettings)
    backbone: BackboneSettings = dataclasses.field(default_factory=BackboneSettings)
    field: FieldSettings = dataclasses.field(default_factory=FieldSettings)
    batch: BatchSettings = dataclasses.field(default_factory=BatchSettings)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_positive(settings: Any, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        _require(value > 0, f"{name} must be positive, not {value}")


def _require_not_negative(settings: Any, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        _require(value >= 0, f"{name} must not be negative, not {value}")


def _require_fraction(settings: Any, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        _require(0 <= value <= 1, f"{name} must lie in 0...1, not {value}")
