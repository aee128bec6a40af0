"""Fetches published super-resolution networks and wraps them as model packages, for `vireo evaluate` to compare with.

Usage: build.py [--out ~/.cache/vireo/baselines] [NAME ...]        (needs npm, tar, numpy and onnx)

Nothing of them is committed: the weights come out of the npm packages named below (`npm pack`), whose licences are
permissive, and stay in the cache. Each network is written out node by node as its own code computes it; around it the
graph turns limited-range YUV 4:2:0 into RGB and back, as a browser does that shows the video to the network, but
without clipping: luma blacker than black, which some cameras send, is not held against it.

    vireo evaluate clip.mp4 --model-dir ~/.cache/vireo/baselines --against bilinear,bicubic,websr-m,esrgan-slim
"""
import argparse
import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F32, U8 = TensorProto.FLOAT, TensorProto.UINT8
# BT.601, which browsers take VP8 for. What is measured is luma, and the way back undoes the way there.
KR, KB = 0.299, 0.114


class Graph:
    def __init__(self):
        self.nodes, self.weights, self.count = [], [], 0

    def const(self, value, dtype=np.float32):
        self.count += 1
        name = f"c{self.count}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def add(self, op, *inputs, out=None, **attrs):
        self.count += 1
        out = out or f"t{self.count}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"{op}_{self.count}", **attrs))
        return out

    def conv(self, x, weight, bias=None):
        """Zeros around, as many as keep the size; weight [outputs, inputs, k, k]."""
        extra = [] if bias is None else [self.const(bias)]
        return self.add("Conv", x, self.const(weight), *extra, pads=[weight.shape[2] // 2] * 4)

    def larger(self, x, by, mode):
        how = {"coordinate_transformation_mode": "half_pixel"} if mode == "linear" else {
            "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.add("Resize", x, "", self.const([1, 1, by, by]), mode=mode, **how)


def colour():
    """(matrix, offset) of limited-range YUV in code values to RGB in 0..1."""
    kg = 1 - KR - KB
    yuv = np.array([[KR, kg, KB], [-KR / (2 - 2 * KB), -kg / (2 - 2 * KB), 0.5], [0.5, -kg / (2 - 2 * KR), -KB / (2 - 2 * KR)]])
    scale = np.array([219, 224, 224.0])
    back = np.linalg.inv(yuv) / scale
    return back, -back @ np.array([16, 128, 128.0]), scale[:, None] * yuv, np.array([16, 128, 128.0])


def package(network, scale):
    """The whole graph; `network(g, rgb)` returns rgb of `scale` times the size, both 0..1."""
    g = Graph()
    to_rgb, to_rgb_offset, to_yuv, to_yuv_offset = colour()
    luma = g.add("Cast", "luma", to=F32)
    chroma = g.larger(g.add("Cast", "chroma", to=F32), 2, "linear")
    rgb = g.conv(g.add("Concat", luma, chroma, axis=1), to_rgb[:, :, None, None], to_rgb_offset)
    yuv = g.conv(network(g, rgb), to_yuv[:, :, None, None], to_yuv_offset)
    y, uv = (g.add("Slice", yuv, g.const([a], np.int64), g.const([b], np.int64), g.const([1], np.int64))
             for a, b in ((0, 1), (1, 3)))
    uv = g.add("AveragePool", uv, kernel_shape=[2, 2], strides=[2, 2])
    for plane, out in ((y, "luma_out"), (uv, "chroma_out")):
        g.add("QuantizeLinear", plane, g.const(1.0), g.const(0, np.uint8), out=out)

    def value(name, *dims):
        return helper.make_tensor_value_info(name, U8, list(dims))
    half = scale / 2
    graph = helper.make_graph(
        g.nodes, f"baseline-x{scale}", [value("luma", 1, 1, "h", "w"), value("chroma", 1, 2, "h/2", "w/2")],
        [value("luma_out", 1, 1, f"h*{scale}", f"w*{scale}"), value("chroma_out", 1, 2, f"h*{half:g}", f"w*{half:g}")], g.weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="vireo")
    made.ir_version = 8
    onnx.checker.check_model(made)
    return made.SerializeToString()


def websr(layers):
    """The Anime4K-like CNNs of websr (`src/networks/anime4k`): CReLU after every layer, all layers read by the last."""

    def weights(name, groups):
        """Columns of 4x4 matrices [tap, from, to] of one group of four outputs; taps go down first, then right."""
        layer = layers[name]
        matrices = np.array(layer["weights"], np.float32).reshape(groups, -1, 4, 4)
        taps = matrices.shape[1]
        k = {1: 1, 9: 3}[taps]
        return matrices.reshape(groups, k, k, 4, 4).transpose(4, 0, 3, 2, 1).reshape(4, groups * 4, k, k), np.array(layer["bias"])

    def joined(names, groups):
        parts = [weights(name, groups) for name in names]
        return np.concatenate([w for w, _ in parts]), np.concatenate([b for _, b in parts])

    def crelu(g, x):
        return g.add("Relu", g.add("Concat", x, g.add("Neg", x), axis=1))

    wide = [""] if "conv2d_tf1" not in layers else ["", "1"]
    last = "conv2d_7_tf" if "conv2d_7_tf" in layers else "conv2d_last_tf"
    depth = sum(f"conv2d_{i}_tf" in layers for i in range(1, 7))
    # The small one's last layer looks at the last features alone, and gives one plane for all colours.
    dense = f"{last}2" in layers

    def network(g, rgb):
        first, bias = joined([f"conv2d_tf{n}" for n in wide], 1)
        # Alpha, the fourth input, is 1 in a video.
        assert np.abs(first[:, 3]).max() == 0, "alpha has weights"
        x = g.conv(rgb, first[:, :3], bias)
        features = [x]
        for i in range(1, depth + 1):
            x = g.conv(crelu(g, x), *joined([f"conv2d_{i}_tf{n}" for n in wide], 2 * len(wide)))
            features.append(x)
        if dense:
            x = g.add("Concat", *(crelu(g, f) for f in features), axis=1)
            outputs = [f"{last}{n}" for n in ("", "1", "2")]
            x = g.conv(x, *joined(outputs, 2 * len(wide) * len(features)))
        else:
            x = g.conv(crelu(g, x), *joined([last], 2))
        return g.add("Add", g.larger(rgb, 2, "linear"), g.add("DepthToSpace", x, blocksize=2, mode="CRD"))
    return network


def twice(network):
    return lambda g, rgb: network(g, network(g, rgb))


def keras(folder):
    """A functional Keras model as TensorFlow.js stores it, that takes and gives code values 0..255."""
    model = json.loads((folder / "model.json").read_text())
    config = model["modelTopology"]["model_config"]["config"]
    values = {}
    for group in model["weightsManifest"]:
        data = b"".join((folder / path).read_bytes() for path in group["paths"])
        for weight in group["weights"]:
            size = int(np.prod(weight["shape"]))
            values[weight["name"]] = np.frombuffer(data[:4 * size], "<f4").reshape(weight["shape"])
            data = data[4 * size:]
            assert weight["dtype"] == "float32" and "quantization" not in weight

    def network(g, rgb):
        made = {}
        for layer in config["layers"]:
            kind, name, how = layer["class_name"], layer["config"]["name"], layer["config"]
            inputs = [made[node[0]] for node in (layer["inbound_nodes"] or [[]])[0]]
            if kind == "InputLayer":
                made[name] = g.add("Mul", rgb, g.const(255.0))
            elif kind == "Conv2D":
                assert how["activation"] == "linear" and how["strides"] == [1, 1]
                kernel = values[f"{name}/kernel"].transpose(3, 2, 0, 1)
                made[name] = g.conv(*inputs, kernel, values[f"{name}/bias"])
            elif kind == "Activation" and how["activation"] == "relu":
                made[name] = g.add("Relu", *inputs)
            elif kind == "Concatenate":
                made[name] = g.add("Concat", *inputs, axis=1)
            elif kind == "Add":
                made[name] = g.add("Add", *inputs)
            elif kind == "UpSampling2D" and how["interpolation"] == "nearest":
                made[name] = g.larger(*inputs, how["size"][0], "nearest")
            else:
                raise SystemExit(f"{folder}: layer {name} ({kind}) is not known here")
        return g.add("Mul", made[config["output_layers"][0][0]], g.const(1 / 255))
    return network


def websr_networks(size):
    def networks(folder):
        layers = json.loads((folder / f"weights/anime4k/cnn-2x-{size}-rl.json").read_text())["layers"]
        once = websr(layers)
        return {4: twice(once), 2: once}
    return networks


# name: npm package, version, licence, what it is, networks by scale from the unpacked package
SOURCES = {
    **{f"websr-{size}": ("@websr/websr", "0.0.15", "MIT", f"WebSR CNN-2x-{size.upper()}, real-life weights; x4 is x2 twice.",
                         websr_networks(size)) for size in "sml"},
    "esrgan-slim": ("@upscalerjs/esrgan-slim", "1.0.0", "MIT", "ESRGAN-slim (a small RDN) of UpscalerJS.",
                    lambda folder: {scale: keras(folder / f"models/x{scale}") for scale in (4, 2)}),
}


def unpacked(name, version, into):
    subprocess.run(["npm", "pack", "--silent", "--pack-destination", into, f"{name}@{version}"], check=True,
                   stdout=subprocess.DEVNULL)
    subprocess.run(["tar", "-xzf", next(Path(into).glob("*.tgz")), "-C", into], check=True)
    return Path(into) / "package"


def replace(path, data):
    tmp = path.with_name(path.name + ".tmp")
    tmp.write_bytes(data)
    os.replace(tmp, path)


def numbers(data):
    return sum(int(np.prod(w.dims)) for w in onnx.load_from_string(data).graph.initializer)


def build(name, out):
    source, version, licence, what, networks = SOURCES[name]
    with tempfile.TemporaryDirectory() as folder:
        made = {scale: package(network, scale) for scale, network in networks(unpacked(source, version, folder)).items()}
    variants = [{
        "file": f"x{scale}.onnx", "sha256": hashlib.sha256(data).hexdigest(), "task": "sr", "scale": scale, "fold": 1, "T": 1,
        "luma": "luma", "chroma": "chroma", "lumaOut": "luma_out", "chromaOut": "chroma_out", "state": [],
    } for scale, data in made.items()]
    count = numbers(made[2]) - numbers(package(lambda g, rgb: rgb, 1))
    manifest = {
        "schema": 1, "name": name, "version": version, "description": f"{what} From the npm package {source} {version}.",
        "licence": licence, "weights": count, "trainingData": f"See the npm package {source}.", "variants": variants,
        "evaluation": []}
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for scale, data in made.items():
        replace(folder / f"x{scale}.onnx", data)
    replace(folder / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    print(f"wrote {folder}: {count} weights, {source} {version}, {licence}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SOURCES)}; all unless given")
    cache = os.environ.get("VIREO_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    parser.add_argument("--out", type=Path, default=Path(cache).expanduser() / "vireo/baselines")
    args = parser.parse_args()
    for name in args.names or SOURCES:
        if name not in SOURCES:
            parser.error(f"{name}: there is {', '.join(SOURCES)}")
        build(name, args.out)


if __name__ == "__main__":
    main()
