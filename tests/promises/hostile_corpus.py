"""Hostile, broken and foreign files, made in code: name -> bytes and what the refusal must say."""

from __future__ import annotations

import gzip
import io
import pickle
import pickletools
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.pipeline.unpickling import era_pickles as genuine
from tests.pipeline.unpickling.era_pickles import ERAS, Era

MODERN = next(era for era in ERAS if era.name == "posepile2025" and era.protocol == 5)
CANARY = "poseshard-canary"

# module.name of things that run, open, import or fetch; all are called with the canary's path.
CALLABLES = """
    builtins.eval builtins.exec builtins.compile builtins.open builtins.__import__ builtins.setattr
    builtins.globals builtins.vars builtins.breakpoint builtins.input builtins.print builtins.map
    builtins.type builtins.object builtins.str builtins.bytearray builtins.set builtins.dict
    __builtin__.eval __builtin__.execfile __builtin__.apply __builtin__.file
    os.system os.popen os.execv os.remove os.getenv posix.system posix.mkdir nt.system
    subprocess.Popen subprocess.check_output commands.getoutput
    importlib.import_module importlib._bootstrap._load runpy.run_path pkgutil.resolve_name
    functools.partial functools.reduce operator.attrgetter operator.methodcaller operator.itemgetter
    types.FunctionType types.CodeType copyreg._reconstructor copyreg.__newobj__
    copyreg.add_extension
    copy_reg._reconstructor pickle.loads _pickle.loads pickle.Unpickler marshal.loads
    ctypes.CDLL codecs.open codecs.decode _codecs.decode io.open _io.FileIO pathlib.PosixPath
    shutil.rmtree tempfile.mkdtemp socket.socket urllib.request.urlopen webbrowser.open
    timeit.timeit pdb.run pty.spawn code.interact cProfile.run doctest.testfile
    logging.config.listen sys.exit sys.setrecursionlimit gc.get_objects inspect.getattr_static
    collections.OrderedDict collections.defaultdict datetime.datetime uuid.UUID weakref.ref
    numpy.load numpy.fromfile numpy.memmap numpy.frombuffer numpy.core.records.fromfile
    numpy.testing._private.utils.runstring numpy.core.multiarray.fromfile numpy.random._pickle.__x__
    pandas.read_pickle pandas.core.frame.DataFrame torch.load torch.storage._load_from_bytes
    joblib.load dill._dill._create_type cloudpickle.cloudpickle._make_function chumpy.ch.Ch
""".split()

# Close to what is allowed, and not it.
NEIGHBOURS = [
    ("posepile.datasets3d", "load_pickle"),
    ("posepile.datasets3d", "Pose3DExample.__init__"),
    ("posepile.datasets3d", "Pose3DExample.__class__"),
    ("posepile.datasets3d", "os.system"),
    ("posepile.datasets3d ", "Pose3DExample"),
    ("posepile", "datasets3d.Pose3DExample"),
    ("posepile.datasets2d", "Pose3DExample"),
    ("evil.posepile.datasets3d", "Pose3DExample"),
    ("data.datasets3d", "pose3dexample"),
    ("p\u043esepile.datasets3d", "Pose3DExample"),  # a Cyrillic letter
    ("cameralib", "Camera.__reduce__"),
    ("deltacamera.decorators", "functools.partial"),
    ("numpy", "dtype.type"),
    ("numpy.core.multiarray", "_reconstruct.__globals__"),
    ("numpy._core.numeric", "fromfile"),
    ("addict.addict", "Dict.update"),
    ("attrdict.dictionary", "six.exec_"),
    ("rlemasklib.oop", "RLEMask.__init__"),
    ("_codecs", "lookup"),
    ("builtins", "getattr.__call__"),
    ("", ""),
    ("posepile.datasets3d\x1b[2J", "Pose3DExample"),
]


@dataclass(frozen=True)
class Case:
    """A file, and what must be said about it."""

    data: bytes
    says: tuple[str, ...]
    offset: int | None = None


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def named(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()


def stack_global(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def proto(body: bytes, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


def frame(length: int) -> bytes:
    return proto(b"\x95" + struct.pack("<Q", length) + b"N")


EXAMPLE = named("posepile.datasets3d", "Pose3DExample")
DTYPE_F4 = named("numpy", "dtype") + text("f4") + b"\x89\x88\x87R"


class Calls:
    """Pickles as a call of os.system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (self.command,)


def corpus(folder: Path) -> dict[str, Case]:
    """Every case; commands in them would touch a canary in `folder`."""
    canary = str(folder / CANARY)
    cases: dict[str, Case] = {}
    for group in (
        _calls(canary),
        _opcode_tricks(canary),
        _bombs(),
        _arrays(),
        _structures(),
        _broken_files(),
        _foreign_files(),
    ):
        for name, case in group:
            assert name not in cases, name
            cases[name] = case
    return cases


def _calls(canary: str) -> Iterator[tuple[str, Case]]:
    for protocol in range(6):
        data = pickle.dumps(Calls(f"touch {canary}"), protocol)
        yield f"system-protocol{protocol}", Case(data, ("posix.system",), _global_offset(data))
    for dotted in CALLABLES:
        module, _, name = dotted.rpartition(".")
        call = text(canary) + b"\x85R"
        yield f"global-{dotted}", Case(proto(named(module, name) + call), (dotted,), 2)
    for i, (module, name) in enumerate(NEIGHBOURS):
        case = Case(proto(stack_global(module, name) + b")R"), ())
        offset = case.data.index(b"\x93")
        shown = f"{module}.{name}"
        yield (
            f"neighbour-{i}",
            replace(case, says=(shown if shown.isprintable() else repr(shown),), offset=offset),
        )
    for era in (MODERN, ERAS[0], ERAS[1], ERAS[2]):
        root = genuine.dataset3d(era)
        root.examples[2][1].custom = Calls(f"touch {canary}")
        data = genuine.pickled(root, era)
        yield f"inside-a-genuine-file-{era}", Case(data, ("posix.system",), _global_offset(data))
    root = genuine.dataset3d(MODERN)
    root.examples[0][0].comment = "x" * (3 << 20)
    root.examples[2][3].custom = Calls(f"touch {canary}")
    data = genuine.pickled(root, MODERN)
    yield "deep-inside-a-large-file", Case(data, ("posix.system",), _global_offset(data))
    root = genuine.dataset3d(MODERN)
    root.examples[0] = [Calls(f"touch {canary}")]
    data = genuine.pickled(root, MODERN)
    yield "instead-of-an-example", Case(data, ("posix.system",), _global_offset(data))


def _opcode_tricks(canary: str) -> Iterator[tuple[str, Case]]:
    memo_strings = text("os") + b"\x94" + text("system") + b"\x94" + b"00" + b"h\x00h\x01\x93"
    yield (
        "names-from-the-memo",
        Case(
            proto(memo_strings + text(canary) + b"\x85R"), ("os.system",), 2 + len(memo_strings) - 1
        ),
    )
    yield "inst", Case(proto(b"(" + text(canary) + b"ios\nsystem\n", 2), ("os.system",))
    yield "obj", Case(proto(b"(" + named("os", "system") + text(canary) + b"o"), ("os.system",), 3)
    yield "newobj", Case(proto(named("os", "system") + b")\x81"), ("os.system",), 2)
    yield "newobj-ex", Case(proto(named("os", "system") + b")}\x92"), ("os.system",), 2)
    for code, argument in ((b"\x82", b"\x01"), (b"\x83", b"\x01\x01"), (b"\x84", b"\1\1\1\1")):
        yield f"extension-{code.hex()}", Case(proto(code + argument), ("an extension code",), 2)
    yield "persistent-id", Case(proto(text("disk") + b"Q"), ("a persistent id",), 11)
    yield "persistent-id-text", Case(proto(b"Pdisk\n"), ("a persistent id",), 2)
    getter = named("builtins", "getattr")
    for i, (owner, attribute) in enumerate(
        [
            (EXAMPLE, "__init__"),
            (EXAMPLE, "__setstate__"),
            (named("rlemasklib", "RLEMask"), "__class__"),
            (named("rlemasklib", "RLEMask"), "__init__"),
            (named("numpy", "ndarray"), "from_dict"),
            (text("x"), "format"),
        ]
    ):
        call = getter + owner + text(attribute) + b"\x86R"
        yield f"getattr-{i}", Case(proto(call), ("builtins.getattr",), 2 + len(call) - 1)
    codec = named("_codecs", "encode") + text("x") + text("zlib") + b"\x86R"
    yield "another-codec", Case(proto(codec), ("_codecs.encode",), 2 + len(codec) - 1)
    yield (
        "bytes-with-arguments",
        Case(proto(named("builtins", "bytes") + b"J\xff\xff\xff\x7f\x85R"), ("builtins.bytes",)),
    )
    state = b"}(" + text("__setstate__") + named("numpy", "ndarray") + b"u"
    yield "build-on-a-class", Case(proto(EXAMPLE + state + b"b"), ("byte",))
    slots = b"N}(" + text("__setstate__") + named("builtins", "getattr") + b"u\x86"
    yield "build-slots-on-a-class", Case(proto(EXAMPLE + slots + b"b"), ("byte",))
    yield (
        "build-slots-on-a-function",
        Case(proto(named("numpy.core.numeric", "_frombuffer") + slots + b"b"), ("malformed",)),
    )
    yield "build-slots-on-an-object", Case(proto(EXAMPLE + b")\x81" + slots + b"b"), ("malformed",))
    yield "example-called", Case(proto(EXAMPLE + b"(K\x01K\x02e\x85R"), ("byte",))
    yield "append-to-an-example", Case(proto(EXAMPLE + b")\x81K\x01a"), ("malformed",))
    yield "items-on-an-example", Case(proto(EXAMPLE + b")\x81K\x00K\x01s"), ("byte",))
    yield "unhashable-key", Case(proto(b"}]Ns"), ("unhashable",), 5)
    yield "next-buffer", Case(proto(b"\x97", 5), ("byte 2",), 2)
    yield "readonly-buffer", Case(proto(b"N\x98", 5), ("byte 3",), 3)
    yield "memo-that-is-not-there", Case(proto(b"h\x07"), ("byte 2",), 2)
    yield "negative-memo", Case(proto(b"Np-5\n"), ("byte 3",), 3)
    yield "stack-underflow", Case(proto(b"a"), ("byte 2",), 2)
    yield "pop-of-nothing", Case(proto(b"0"), ("byte 2",), 2)
    yield "mark-that-is-not-there", Case(proto(b"Nt"), ("byte 3",), 3)
    yield "nothing-left-at-the-end", Case(proto(b""), ("byte 2",), 2)
    yield "reduce-a-number", Case(proto(b"K\x01)R"), ("byte 5",), 5)
    yield "unknown-opcode", Case(proto(b"N\xff"), ("byte 3",), 3)


def _bombs() -> Iterator[tuple[str, Case]]:
    memory = ("more memory",)
    yield "memo-index-2-to-the-31", Case(proto(b"Nr" + struct.pack("<I", 2**31 - 1)), memory, 3)
    yield "memo-index-2-to-the-26", Case(proto(b"Nr" + struct.pack("<I", 2**26)), memory, 3)
    for code, name in ((b"\x8e", "bytes"), (b"\x8d", "text"), (b"\x96", "bytearray")):
        for exponent in (32, 40, 62):
            header = code + struct.pack("<Q", 1 << exponent)
            yield f"{name}-of-2-to-the-{exponent}", Case(proto(header, 5), ("byte 2",), 2)
    yield "long-of-4-gb", Case(proto(b"\x8b" + struct.pack("<i", 2**31 - 1)), ("byte 2",), 2)
    yield "long-of-negative-size", Case(proto(b"\x8b" + struct.pack("<i", -5)), ("byte 2",), 2)
    yield "bytes-of-4-gb", Case(proto(b"B" + struct.pack("<I", 2**32 - 1)), ("byte 2",), 2)
    yield (
        "frame-of-exabytes",
        Case(frame(1 << 60), ("cut off",)),
    )
    yield (
        "frame-beyond-the-end",
        Case(frame(9), ("cut off",), 2),
    )
    yield "million-digits", Case(proto(b"I" + b"9" * 1_000_000 + b"\n"), ("byte 2",), 2)
    yield "million-digits-long", Case(proto(b"L" + b"9" * 1_000_000 + b"L\n"), ("byte 2",), 2)
    yield "a-million-lists", Case(proto(b"]" * 1_000_000 + b"a" * 999_999), ("malformed",))
    yield "a-million-tuples", Case(proto(b")" + b"\x85" * 1_000_000), ("malformed",))
    yield "a-million-marks", Case(proto(b"(" * 1_000_000), ("byte",))
    yield "a-million-tuples-as-a-key", Case(proto(b"})" + b"\x85" * 1_000_000 + b"Ns"), ("byte",))
    yield "exponential-hash", Case(proto(b"})" + b"2\x86" * 64 + b"Ns"), ("processor time",))
    yield "exponential-list", Case(proto(b"]" + b"2\x86" * 64), ("malformed",))
    shape = b")" + b"2\x86" * 64
    call = named("numpy.core.numeric", "_frombuffer") + b"(C\x04abcd" + DTYPE_F4 + shape
    yield "exponential-shape", Case(proto(call + text("C") + b"tR"), ("processor time",))
    for attribute in ("custom", "instance_mask", "univ_coords", "new\x1b"):
        nested: list[Any] = []
        for _ in range(150):
            nested = [nested]
        root = genuine.dataset3d(MODERN)
        setattr(root.examples[0][0], attribute, nested)
        yield (
            f"nested-in-{attribute.strip()}",
            Case(genuine.pickled(root, MODERN), ("without end", attribute.strip("\x1b"), "train")),
        )
    root = genuine.dataset3d(MODERN)
    root.examples[0] = root.examples[0][:1] * 300_000
    yield "examples-by-reference", Case(genuine.pickled(root, MODERN), ("more ", "can need"))


def _arrays() -> Iterator[tuple[str, Case]]:
    dtype = named("numpy", "dtype")
    for code in ("O8", "O", "V8", "S4", "U4", "M8", "m8", "c16", "f16", "f2,f4", "object", ""):
        call = dtype + text(code) + b"\x89\x88\x87R"
        yield f"dtype-{code}", Case(proto(call), ("numpy.dtype",), 2 + len(call) - 1)
    made = DTYPE_F4
    good = [3, "<", None, None, None, -1, -1, 0]
    for i, (position, value) in enumerate(
        [(0, 9), (1, "?"), (1, None), (2, (1,)), (3, ("a",)), (4, {}), (5, 1), (5, 4096), (6, 64)]
    ):
        state = list(good)
        state[position] = value
        body = pickle.dumps(tuple(state), 2)[2:-1]
        yield f"dtype-state-{i}", Case(proto(made + body + b"b"), ("numpy.dtype",))
    long_state = pickle.dumps((4, "<", None, None, None, -1, -1, 0, {}), 2)[2:-1]
    yield "dtype-state-of-a-date", Case(proto(made + long_state + b"b"), ("numpy.dtype",))
    frombuffer = named("numpy.core.numeric", "_frombuffer")

    def from_buffer(raw: bytes, shape: bytes, order: str = "C") -> bytes:
        return proto(frombuffer + b"(" + raw + DTYPE_F4 + shape + text(order) + b"tR")

    four = b"C\x04abcd"
    huge = b"\x8a\x06\x00\x00\x00\x00\x00\x01"  # 2**40
    yield "array-too-short", Case(from_buffer(four, b"K\x03\x85"), ("numpy.ndarray", "12 bytes"))
    yield "array-too-long", Case(from_buffer(four, b"K\x00\x85"), ("numpy.ndarray", "0 bytes"))
    yield (
        "array-that-overflows",
        Case(from_buffer(four, huge + huge + b"\x86"), ("numpy.ndarray", "shape")),
    )
    yield (
        "array-of-negative-size",
        Case(from_buffer(four, b"J\xff\xff\xff\xff\x85"), ("numpy.ndarray", "shape")),
    )
    yield (
        "array-of-fractional-size",
        Case(
            from_buffer(four, b"G" + struct.pack(">d", 1.0) + b"\x85"), ("numpy.ndarray", "shape")
        ),
    )
    yield "array-of-listed-shape", Case(from_buffer(four, b"]"), ("byte",))
    yield (
        "array-of-40-dimensions",
        Case(from_buffer(four, b"(" + b"K\x01" * 40 + b"t"), ("numpy.ndarray", "shape")),
    )
    yield "array-of-strange-order", Case(from_buffer(four, b"K\x01\x85", "K"), ("numpy.ndarray",))
    yield "array-of-text", Case(from_buffer(text("abcd"), b"K\x01\x85"), ("malformed",))
    yield "array-of-a-number", Case(from_buffer(b"K\x04", b"K\x01\x85"), ("byte",))
    objects = np.array([Calls("true")], dtype=object)
    yield "object-array", Case(pickle.dumps(objects, 4), ("numpy",))
    yield "structured-array", Case(pickle.dumps(np.zeros(2, "f4,i4"), 4), ("numpy.dtype",))
    reconstruct = named("numpy.core.multiarray", "_reconstruct")
    yield (
        "array-subclass",
        Case(proto(reconstruct + EXAMPLE + b"K\x00\x85C\x01b\x87R"), ("_reconstruct",)),
    )
    empty = reconstruct + named("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    yield "array-without-a-state", Case(proto(empty), ("malformed",))
    yield "array-with-a-short-state", Case(proto(empty + b"K\x01\x85b"), ("numpy.ndarray",))
    state = b"(K\x01K\x02\x85" + DTYPE_F4 + b"\x89]Na" + b"tb"
    yield "array-of-pickled-objects", Case(proto(empty + state), ("numpy.ndarray",))
    scalar = named("numpy.core.multiarray", "scalar")
    yield "scalar-too-short", Case(proto(scalar + DTYPE_F4 + b"C\x02ab\x86R"), ("numpy.ndarray",))
    delta = named("deltacamera.decorators", "_reconstruct_array")
    for name in ("O", "|O", "<f4,<f4", "|V8", "f4", "<m8[s]"):
        call = delta + four + text(name) + b")\x87R"
        yield f"deltacamera-array-of-{name}", Case(proto(call), ("refused",))


def _structures() -> Iterator[tuple[str, Case]]:
    for name, value in {"none": None, "number": 5, "list": [1], "dict": {}, "text": "x"}.items():
        for protocol in (2, 5):
            data = pickle.dumps(value, protocol)
            yield f"just-a-{name}-{protocol}", Case(data, ("Pose3DDataset", "malformed"))
    array = pickle.dumps(np.zeros(3, np.float32), 5)
    yield "just-an-array", Case(array, ("Pose3DDataset", "malformed"))

    def broken(name: str, says: str, **attributes: object) -> tuple[str, Case]:
        root = genuine.dataset3d(MODERN)
        for attribute, value in attributes.items():
            setattr(root, attribute, value)
        return name, Case(genuine.pickled(root, MODERN), ("malformed", says))

    fine = genuine.dataset3d(MODERN)
    yield broken("no-splits", "examples", examples=None)
    yield broken("splits-in-a-list", "examples", examples=[[], [], []])
    yield broken("a-split-too-few", "examples", examples={0: [], 1: []})
    yield broken("a-split-too-many", "examples", examples={0: [], 1: [], 2: [], 3: []})
    yield broken("splits-by-name", "examples", examples={"train": [], "valid": [], "test": []})
    yield broken("splits-by-truth", "examples", examples={False: [], True: [], 2: []})
    yield broken("split-is-no-list", "split valid", examples={0: [], 1: {}, 2: []})
    odd = genuine.make(genuine.Pose2DExample)
    yield broken("example-of-the-wrong-class", "example 3", examples={
        0: [], 1: [], 2: [*fine.examples[0], odd]
    })  # fmt: skip
    yield broken("example-is-a-number", "example 0", examples={0: [7], 1: [], 2: []})
    yield broken("bones-of-text", "train_bones", train_bones="long")
    yield broken("bones-in-a-matrix", "train_bones", train_bones=np.zeros((2, 2)))
    yield broken("no-joints", "joint_info", joint_info=None)
    yield broken("joints-of-the-wrong-class", "joint_info", joint_info=odd)
    no_edges = (None, [(0, 9)], [(0, -1)], [(0,)], [(0, 1, 2)], [0, 1], 3, [("a", 1)])
    for attribute, values in {
        "names": (None, [], ["a", "a", "b", "c"], [1, 2, 3, 4], "pelv", ["a\x1b", "b", "c", "d"]),
        "mirror_mapping": (None, [0, 1], [0, 1, 2, 9], [1, 2, 3, 0], [0, 1, 2, -1], ["a"] * 4),
        "stick_figure_edges": no_edges,
    }.items():
        for i, value in enumerate(values):
            info = genuine.joint_info(MODERN)
            setattr(info, attribute, value)
            if attribute == "names" and value is None:
                info.ids = {"a": 0, "b": 7}
            yield broken(f"joints-{attribute}-{i}", "joint", joint_info=info)
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    yield broken("split-in-itself", "example 0", examples={0: cyclic, 1: [], 2: []})
    twice = proto(named("posepile.datasets3d", "Pose3DDataset") + b")\x81}b}b")
    yield "state-given-twice", Case(twice, ("malformed",))
    bare = proto(named("posepile.datasets3d", "Pose3DDataset") + b")\x81")
    yield "no-state", Case(bare, ("malformed",))
    listed = proto(named("posepile.datasets3d", "Pose3DDataset") + b")\x81]b")
    yield "state-is-a-list", Case(listed, ("malformed",))
    yield "only-a-class", Case(proto(named("posepile.datasets3d", "Pose3DDataset")), ("malformed",))


def _broken_files() -> Iterator[tuple[str, Case]]:
    for era in (MODERN, ERAS[0]):
        data = genuine.pickled(genuine.dataset3d(era), era)
        for cut in (2, 3, 11, 12, 100, len(data) // 2, len(data) - 1):
            yield (
                f"cut-at-{cut}-{era}",
                Case(data[:cut], ("cut off", f"ends at byte {cut}")),
            )
        yield f"trailing-text-{era}", Case(data + b"abc", ("3 bytes follow",), len(data))
        yield f"twice-{era}", Case(data * 2, (f"{len(data)} bytes follow",), len(data))
        zeros = data[: len(data) // 2] + bytes(512) + data[len(data) // 2 + 512 :]
        yield f"a-zeroed-sector-{era}", Case(zeros, ("byte",))
        crlf = data.replace(b"\n", b"\r\n")
        yield f"sent-as-text-{era}", Case(crlf if crlf != data else data[:-1], ("byte",))
    yield "only-a-header", Case(b"\x80\x04", ("cut off",), 2)
    yield "only-one-byte", Case(b"\x80", ("not a pickle",), 0)
    yield "empty", Case(b"", ("empty file",), 0)
    yield "stop-alone", Case(b".", ("not a pickle",), 0)
    yield "nul-bytes", Case(bytes(4096), ("not a pickle",), 0)
    for protocol in (0, 1):
        data = pickle.dumps({"a": [1]}, protocol)
        yield f"protocol-{protocol}", Case(data, ("not a pickle of protocol 2 to 5",), 0)
    yield "protocol-1-declared", Case(b"\x80\x01N.", ("protocol is 1",), 0)
    yield "protocol-6", Case(b"\x80\x06N.", ("protocol is 6",), 0)


def _foreign_files() -> Iterator[tuple[str, Case]]:
    plain = genuine.pickled(genuine.dataset3d(MODERN), MODERN)
    archive = io.BytesIO()
    np.savez(archive, a=np.zeros(3))
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    yield "gzip", Case(gzip.compress(plain), ("gzip",), 0)
    yield "npz", Case(archive.getvalue(), ("zip file",), 0)
    yield "npy", Case(single.getvalue(), (".npy",), 0)
    yield "json", Case(b'{"images": []}', ("not a pickle",), 0)
    yield "html", Case(b"<!DOCTYPE html><html>404</html>", ("not a pickle",), 0)
    yield "lfs", Case(b"version https://git-lfs.github.com/spec/v1\n", ("Git LFS",), 0)


def _global_offset(data: bytes) -> int:
    """Where posix.system is asked for."""
    strings: list[str] = []
    for opcode, argument, position in pickletools.genops(data):
        if opcode.name == "GLOBAL" and argument == "posix system":
            return int(position)
        if opcode.name == "STACK_GLOBAL" and strings[-2:] == ["posix", "system"]:
            return int(position)
        if isinstance(argument, str):
            strings.append(argument)
    raise AssertionError("no such global")


def small_genuine_file() -> bytes:
    """A genuine data set that is short enough to damage at every byte."""
    era: Era = replace(MODERN, protocol=4)
    return genuine.pickled(genuine.dataset3d(era), era)
