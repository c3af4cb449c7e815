"""Checks of what TensorFlow computes: losses, reconstruction, metrics, heads, layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from stages.train import losses, metrics, projection, reconstruction
from stages.train.batch_renormalization import BatchRenormalization
from stages.train.canonical_joints import CanonicalJoints, is_hand_joint
from stages.train.localizer_head import (
    localize,
    soft_argmax_2d,
    soft_argmax_3d,
    to_metres,
    to_pixels,
)
from stages.train.masked import masked_mean, masked_mean_and_deviation, masked_sum
from stages.train.point_field import PointField
from stages.train.settings import FieldSettings, HeadSettings, LossSettings
from tests.golden.comparison import VERSIONS, Golden

GRADIENT = 1e-3
RECONSTRUCTION = 1e-3
MIN_DEPTH_M = {"v1": 0.001, "v2": 0.1}

LOSS_SETTINGS = {
    "nll": LossSettings(),
    "nonll": LossSettings(nll_loss=False),
    "nll_fixfac": LossSettings(fix_uncert_factor=True),
    "nll_beta0": LossSettings(beta_nll=0.0),
    "nll_beta05": LossSettings(beta_nll=0.5),
    "nll_eps002": LossSettings(charb_eps=0.02),
}


def check_robust_norm(golden: Golden) -> None:
    x, uncert = (tf.constant(golden[f"in/{name}"]) for name in ("x", "uncert"))
    golden.compare_present("same/no_uncert", losses.robust_norm(x, settings=LossSettings()))
    for match in golden.matching(r"same/charbonnier/eps(.+)"):
        golden.compare_present(match[0], losses.charbonnier(x, epsilon=float(match[1])))
    for match in golden.matching(r"same/(\w+)/value"):
        settings = LOSS_SETTINGS[match[1]]

        def norm(x: Any, uncert: Any, settings: LossSettings = settings) -> Any:
            return losses.robust_norm(x, uncert, settings=settings)

        value, (grad_x, grad_uncert) = value_and_gradients(norm, x, uncert)
        golden.compare_present(match[0], value)
        golden.compare_present(f"same/{match[1]}/grad_x", grad_x, tolerance=GRADIENT)
        golden.compare_present(f"same/{match[1]}/grad_uncert", grad_uncert, tolerance=GRADIENT)


def check_loss_with_3d_truth(golden: Golden) -> None:
    scene = _scene(golden)
    names = {"loss3d": 0, "loss3d_abs": 1, "loss2d": 2, "total": 3}
    runs = {
        (match[1], int(match[2]))
        for match in golden.matching(r"(?:same|v1|v2)/(\w+)/step(\d+)/loss3d")
    }
    for version in VERSIONS:
        head = _head(golden, version)
        for config, step in sorted(runs):
            prefix = f"{config}/step{step}"
            for name, position in names.items():

                def loss(
                    prediction: Any,
                    uncert: Any,
                    position: int = position,
                    config: str = config,
                    step: int = step,
                    head: HeadSettings = head,
                ) -> Any:
                    return losses.loss_with_3d_truth(
                        scene["coords3d_true"],
                        prediction,
                        intrinsics=scene["intrinsics"],
                        validity=scene["point_validity"],
                        root_index=scene["root_index"],
                        uncert=uncert,
                        step=step,
                        loss=LOSS_SETTINGS[config],
                        head=head,
                    )[position]

                value, (grad_points, grad_uncert) = value_and_gradients(
                    loss, scene["coords3d_pred"], scene["uncert"]
                )
                golden.compare_version(f"{prefix}/{name}", version, value)
                golden.compare_version(
                    f"{prefix}/grad_coords3d_abs/{name}", version, grad_points, tolerance=GRADIENT
                )
                golden.compare_version(
                    f"{prefix}/grad_uncert/{name}", version, grad_uncert, tolerance=GRADIENT
                )


def check_loss_with_2d_truth(golden: Golden) -> None:
    scene = _scene(golden)
    configs = {match[1] for match in golden.matching(r"(?:same|v1|v2)/(\w+)/loss2d")}
    for version in VERSIONS:
        head = _head(golden, version)
        for config in sorted(configs):

            def loss(
                prediction: Any, uncert: Any, config: str = config, head: HeadSettings = head
            ) -> Any:
                return losses.loss_with_2d_truth(
                    scene["coords2d_true"],
                    prediction,
                    intrinsics=scene["intrinsics"],
                    validity=scene["point_validity"],
                    uncert=uncert,
                    loss=LOSS_SETTINGS[config],
                    head=head,
                )

            value, (grad_points, grad_uncert) = value_and_gradients(
                loss, scene["coords3d_pred"], scene["uncert"]
            )
            golden.compare_version(f"{config}/loss2d", version, value)
            golden.compare_version(
                f"{config}/grad_coords3d_abs", version, grad_points, tolerance=GRADIENT
            )
            golden.compare_version(
                f"{config}/grad_uncert", version, grad_uncert, tolerance=GRADIENT
            )


def check_metrics_and_geometry(golden: Golden) -> None:
    scene = _scene(golden)
    for version in VERSIONS:
        _check_metrics(golden, scene, version)
        _check_geometry(golden, scene, version)


def _check_metrics(golden: Golden, scene: dict[str, tf.Tensor], version: str) -> None:
    head = _head(golden, version)
    truth, prediction = scene["coords3d_true"], scene["coords3d_pred"]
    validity, intrinsics = scene["point_validity"], scene["intrinsics"]

    found = metrics.metrics_3d(
        truth, prediction, intrinsics=intrinsics, validity=validity, head=head
    )
    for name, value in found._asdict().items():
        golden.compare_version(f"m3d/{name}", version, value)
    pixel_error = metrics.pixel_error(
        scene["coords2d_true"], prediction, intrinsics=intrinsics, validity=validity, head=head
    )
    golden.compare_version("m2d/mean_error_px", version, pixel_error)

    mirrored = truth * tf.constant([-1.0, 1.0, 1.0])
    for name, pose, scaled in (
        ("procrustes_aligned_pred", prediction, True),
        ("procrustes_aligned_pred_noscale", prediction, False),
        ("procrustes_mirrored_input_aligned", mirrored, True),
    ):
        aligned = metrics.procrustes_align(pose, truth, validity=validity, allow_scaling=scaled)
        golden.compare_version(name, version, aligned)

    distance = metrics.mean_relative_distance(truth, prediction, validity=validity)
    golden.compare_version("dist_meanrel", version, distance)
    golden.compare_version(
        "auc_per_point_0_100mm", version, metrics.closeness(distance, threshold_m=0.1)
    )
    for name, value in (
        ("reduce_mean_masked/all", masked_mean(distance, validity)),
        ("reduce_mean_masked/axis1", masked_mean(distance, validity, axis=1)),
        ("reduce_sum_masked/axis1", masked_sum(distance, validity, axis=1)),
        (
            "reduce_mean_masked/axis12_keep",
            masked_mean(truth, validity, axis=(1, 2), keepdims=True),
        ),
    ):
        golden.compare_version(name, version, value)
    mean, deviation = masked_mean_and_deviation(truth[..., :2], validity)
    golden.compare_version("mean_stdev_masked/mean", version, mean)
    golden.compare_version("mean_stdev_masked/stdev", version, deviation)


def _check_geometry(golden: Golden, scene: dict[str, tf.Tensor], version: str) -> None:
    head = _head(golden, version)
    truth, validity = scene["coords3d_true"], scene["point_validity"]
    pixels = {
        name: projection.project(
            scene[f"coords3d_{name}"], scene["intrinsics"], min_depth_m=head.min_projection_depth_m
        )
        for name in ("true", "pred")
    }
    for name, value in pixels.items():
        golden.compare_version(f"project_pose/{name}", version, value)

    windows = golden.matching(
        r"(?:same|" + version + r")/(is_within_fov/centered([01])_stride(\d+)_border(.+))"
    )
    for match in windows:
        fov_head = replace(head, centered_stride=match[2] == "1", stride_train=int(match[3]))
        within = projection.is_within_fov(pixels["true"], border=float(match[4]), head=fov_head)
        golden.compare_version(match[1], version, within)
    gate = reconstruction.reconstruction_mask(
        pixels["true"],
        validity=validity,
        true_depth=truth[..., 2],
        uncert=None,
        step=0,
        training_steps=300_000,
        loss=LossSettings(),
        head=head,
    )
    golden.compare_version("is_within_fov_true_gate_0p5", version, gate)

    for name, value in (
        ("mean_masked", projection.center_on_mean(truth, validity)),
        ("mean_unmasked", projection.center_on_mean(truth)),
        (
            "mean_center_joints_0_1_2",
            projection.center_on_mean(truth, validity, joints=(0, 1, 2)),
        ),
        ("last", projection.center_on_last(truth)),
    ):
        golden.compare_version(f"center_relative_pose/{name}", version, value)


def check_reconstruction(golden: Golden) -> None:
    for version in VERSIONS:
        head = _head(golden, version)
        for match in golden.matching(r"(?:same|v1|v2)/(.+)/abs"):
            _check_one_reconstruction(golden, match[1], version, head)
        _check_reconstruction_steps(golden, version, head)


def _check_one_reconstruction(golden: Golden, name: str, version: str, head: HeadSettings) -> None:
    how, mix, masked = _reconstruction_of(golden, name, head)
    intrinsics = tf.constant(golden["in/intrinsics"])
    grad_weight = tf.constant(golden["in/grad_weight"])

    def reconstruct(head2d: Any, head3d: Any) -> Any:
        return reconstruction.reconstruct_absolute(
            head2d,
            head3d,
            intrinsics=intrinsics,
            mask=tf.constant(golden["in/validity"]) if masked else None,
            mix=mix,
            how=how,
            head=head,
        )

    absolute, gradients = value_and_gradients(
        reconstruct,
        tf.constant(golden["in/head2d"]),
        tf.constant(golden["in/head3d"]),
        weight=grad_weight,
    )
    golden.compare_version(f"{name}/abs", version, absolute, tolerance=RECONSTRUCTION)
    for head_name, gradient in zip(("head2d", "head3d"), gradients, strict=True):
        golden.compare_version(
            f"{name}/grad_{head_name}", version, gradient, tolerance=RECONSTRUCTION
        )


def _reconstruction_of(
    golden: Golden, name: str, head: HeadSettings
) -> tuple[reconstruction.Reconstruction, Any, bool]:
    """Which caller a key such as `trainer_weak_step0/mix0.5/masked` speaks of."""
    if name == "default_args_nomix":
        return reconstruction.Reconstruction(is_mixed=False), None, False
    if name.startswith("infer_predict_multi"):
        border = float(
            name.partition("_border")[2] or reconstruction.INFERENCE_RAGGED.points_border
        )
        return replace(reconstruction.INFERENCE_RAGGED, points_border=border), None, True
    if name.startswith("infer_same_canonicals"):
        return reconstruction.INFERENCE_SHARED_POINTS, None, True
    caller, mix_name, mask_name = name.split("/")
    step = int(caller.rpartition("_step")[2])
    how = (
        reconstruction.TRAINING_START
        if step < head.weak_perspective_steps
        else reconstruction.TRAINING
    )
    assert how.weak_perspective == ("weak" in caller)
    mix_text = mix_name.removeprefix("mix")
    mix = tf.constant(golden["in/mix"]) if mix_text == "rand" else float(mix_text)
    return how, mix, mask_name == "masked"


def _check_reconstruction_steps(golden: Golden, version: str, head: HeadSettings) -> None:
    coords2d, coords3d = tf.constant(golden["in/head2d"]), tf.constant(golden["in/head3d"])
    normalized = projection.normalize_pixels(coords2d, tf.constant(golden["in/intrinsics"]))
    usable = projection.is_within_fov(coords2d, border=1, head=head) & golden["in/validity"]
    golden.compare_version("normalized_2d", version, normalized)
    golden.compare_version("mask_used", version, usable)
    golden.compare_version(
        "ref_weak",
        version,
        reconstruction.weak_perspective_reference(normalized, coords3d, usable=usable),
        tolerance=RECONSTRUCTION,
    )
    golden.compare_version(
        "ref_full",
        version,
        reconstruction.full_perspective_reference(
            normalized, coords3d, usable=usable, regularization=head.fullpersp_l2_regul
        ),
        tolerance=RECONSTRUCTION,
    )


def check_heads(golden: Golden) -> None:
    head = HeadSettings(proc_side=int(golden["in/proc_side"]), depth=int(golden["in/depth"]))
    features = tf.constant(golden["in/features"])

    def summed(features: Any, weights: Any) -> Any:
        output = localize(features, weights, head=head)
        return (
            tf.reduce_sum(output.coords2d)
            + 2 * tf.reduce_sum(output.coords3d)
            + 3 * tf.reduce_sum(output.uncert)
        )

    weights = tf.constant(golden["in/weights"])
    _, gradients = value_and_gradients(summed, features, weights)
    for name, gradient in zip(("features", "weights"), gradients, strict=True):
        key = f"same/grad_{name}(sum2d+2sum3d+3sumU)"
        golden.compare_present(key, gradient, tolerance=GRADIENT)

    output = localize(features, weights, head=head)
    shared = localize(features, tf.constant(golden["in/weights_same"]), head=head)
    for prefix, found in (("same", output), ("same/same", shared)):
        golden.compare_present(f"{prefix}/raw_coords2d", found.coords2d)
        golden.compare_present(f"{prefix}/raw_coords3d", found.coords3d)
        golden.compare_present(f"{prefix}/uncert", found.uncert)
    for match in golden.matching(r"same/uncert_bias(.+)_(.+)"):
        biased = replace(head, uncert_bias=float(match[1]), uncert_bias2=float(match[2]))
        golden.compare_present(match[0], localize(features, weights, head=biased).uncert)
    for match in golden.matching(r"same/head(2d_px|3d_m)/centered([01])_stride(\d+)"):
        placed = replace(head, centered_stride=match[2] == "1")
        stride = int(match[3])
        golden.compare_present(
            match[0],
            to_pixels(output.coords2d, head=placed, stride=stride)
            if match[1] == "2d_px"
            else to_metres(output.coords3d, head=placed, stride=stride),
        )
    for match in golden.matching(r"same/softargmax2d/logits_nphw"):
        golden.compare("same/softargmax2d/xy01", soft_argmax_2d(golden[match[0]]))
    for match in golden.matching(r"same/softargmax3d/logits_nphwd"):
        golden.compare("same/softargmax3d/xyz01", soft_argmax_3d(golden[match[0]]))


def check_field(golden: Golden) -> None:
    points, nodes = golden["same/points"], golden["same/nodes"]
    names = ("W_r", "dense1_kernel", "dense1_bias", "dense2_kernel", "dense2_bias")
    encoding = [golden[f"same/{name}"] for name in names]
    hidden = [golden["same/hidden_kernel"], golden["same/hidden_bias"]]
    out = [golden["same/out_kernel"], golden["same/out_bias"]]
    settings = FieldSettings(
        field_fourier_dim=2 * encoding[0].shape[1],
        field_gps_hidden_size=encoding[1].shape[1],
        field_posenc_dim=encoding[3].shape[1],
        field_hidden_size=hidden[0].shape[1],
    )

    def field(settings: FieldSettings) -> PointField:
        layer = PointField(
            out[0].shape[1],
            bounds=np.stack([nodes.min(axis=0), nodes.max(axis=0)]),
            eigenvalues=golden["same/eigval_file"][1:],
            settings=settings,
        )
        layer.build(points.shape)
        layer.encoding.set_weights(encoding)
        layer.hidden[0].set_weights(hidden)
        layer.out.set_weights(out)
        return layer

    layer = field(settings)
    flat = points.reshape(-1, points.shape[-1])
    # "Features" in the file are the eigenfunctions, before they are divided by the eigenvalues.
    for bits, from_half in (("16", True), ("32", False)):
        rounding = field(replace(settings, query_float16=from_half))
        key = f"same/gps_features_from_float{bits}_points"
        golden.compare_present(key, rounding.encoding(rounding.normalize(tf.constant(flat))))
    value, (gradient,) = value_and_gradients(layer, tf.constant(points))
    golden.compare_present("same/field_output", value)
    golden.compare_present("same/grad_out_wrt_points", gradient, tolerance=GRADIENT)
    golden.compare_present("same/first_layer_regulariser", tf.add_n(layer.losses))


def check_canonical_joints(golden: Golden) -> None:
    names = [str(name) for name in golden["same/joint_names"]]
    golden.compare_present("same/is_hand_joint", np.array([is_hand_joint(name) for name in names]))
    layer = CanonicalJoints([names], positions=golden["same/init"])
    golden.compare_present("same/delta_mask", layer.free)
    layer.left_offsets.assign(golden["same/lefts"])
    layer.center_offsets.assign(golden["same/centers"])
    golden.compare_present("same/canonical_locs", layer.locations())
    for name, offsets in (("lefts", layer.left_offsets), ("centers", layer.center_offsets)):
        golden.compare_present(f"same/{name}_after_constraint", offsets.constraint(offsets.value))


def check_batch_renormalization(golden: Golden) -> None:
    for match in golden.matching(r"same/(\w+)/x"):
        case = f"same/{match[1]}"
        x = tf.constant(golden[match[0]])
        # The file was made with the layer's own default momentum, not with the recipe's 0.9.
        layer = BatchRenormalization(momentum=0.99, epsilon=1e-3)
        layer.build(x.shape)
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            getattr(layer, name).assign(golden[f"{case}/{name}"])
        rmax, dmax = float(golden[f"{case}/rmax"]), float(golden[f"{case}/dmax"])
        layer.set_limits(rmax=rmax, dmax=dmax)

        def train(x: Any, layer: BatchRenormalization = layer) -> Any:
            return layer(x, training=True)

        weight = tf.constant(golden[f"{case}/grad_weight"])
        value, (gradient,) = value_and_gradients(train, x, weight=weight)
        golden.compare_present(f"{case}/y_train", value)
        golden.compare_present(f"{case}/grad_x", gradient, tolerance=GRADIENT)
        golden.compare_present(f"{case}/moving_mean_after", layer.moving_mean.numpy())
        golden.compare_present(f"{case}/moving_variance_after", layer.moving_variance.numpy())
        golden.compare_present(f"{case}/y_infer_after", layer(x, training=False))


def value_and_gradients(
    function: Callable[..., Any], *inputs: tf.Tensor, weight: tf.Tensor | float = 1.0
) -> tuple[Any, list[Any]]:
    """Value, and the gradients of sum(value · weight); zeros where there is no path."""
    with tf.GradientTape() as tape:
        for tensor in inputs:
            tape.watch(tensor)
        value = function(*inputs)
        target = tf.reduce_sum(value * weight)
    gradients = tape.gradient(target, inputs, unconnected_gradients="zero")
    return value, [gradient.numpy() for gradient in gradients]


def _scene(golden: Golden) -> dict[str, tf.Tensor]:
    return {
        name: tf.constant(golden[f"in/{name}"])
        for name in (
            "coords3d_true",
            "coords3d_pred",
            "coords2d_true",
            "intrinsics",
            "point_validity",
            "root_index",
            "uncert",
        )
    }


def _head(golden: Golden, version: str) -> HeadSettings:
    return HeadSettings(
        proc_side=int(golden["in/proc_side"]), min_projection_depth_m=MIN_DEPTH_M[version]
    )
