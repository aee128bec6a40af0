"""Writes checkpoints as a model package: ONNX files and manifest.json.

Usage: export.py --model swift --sr CKPT [--same CKPT] [--looking CKPT] --out models/swift --version 0.3.0 [--lighter swift-lite]
                 [--evaluation evaluation.json] [--training-data TEXT]
--sr gives x4.onnx and x2.onnx; --same, trained at full size, gives x1.onnx (deblurring, denoising, artefact removal) and
x1-inpaint.onnx (the same, and lost pixels are filled from around them first). A model that takes stills has two more files for each of the
first two: x4-tables.onnx makes of a still what x4-stills.onnx looks details up in, with the same weights unless --looking has others. Replaces files atomically, the manifest last.
"""
import argparse
import hashlib
import json
import os
from pathlib import Path

import onnx
import torch

import graph
import graph_floats
import model as models

TRAINING_DATA = (
    "Real footage (54 public clips of people, rooms and general scenes, among them the Xiph/derf sequences bus, city, "
    "coastguard, container, flower, football, harbour, mobile, pamphlet, soccer, tempete; clips shipped with sam2, flutter, "
    "LivePortrait, LatentSync and other public repositories) and 71 photographs (Wikimedia Commons, U-2-Net test data) "
    "panned and zoomed; coded in real time with libvpx VP8 and VP9, x264 and libaom AV1. "
    "Every source is named in models/training/trained-on.txt.")
FILES = {  # file: (task, scale, lost pixels are filled first)
    "x4.onnx": ("sr", 4, False),
    "x2.onnx": ("sr", 2, False),
    "x1.onnx": ("deblur", 1, False),
    "x1-inpaint.onnx": ("inpaint", 1, True),
}


STILLS = 4  # at a time; each takes its share of the search, and of memory
GRID = 4  # fine cells that a picture's sides are multiples of: attention asks by 2x2 coarse ones, matching halves its pyramid twice


def rounds(name):
    """`clear` is for GPUs, which gain nothing from integers here."""
    return name != "clear"


def load(name, checkpoint):
    """The averaged weights of a checkpoint, rounded to integers when run if the model is."""
    saved = torch.load(checkpoint, map_location="cpu")
    net = models.make(name, saved["scales"])
    net.load_state_dict(saved["ema"])
    net.quantised = rounds(name)
    return net.eval()


def add_weights(parser, required=True):
    """The flags that say where a package's weights are."""
    parser.add_argument("--sr", type=Path, required=required)
    parser.add_argument("--same", type=Path)
    parser.add_argument("--looking", type=Path, help="weights of their own for the graphs with stills")


def networks(name, args):
    """Networks by scale, of the flags of add_weights."""
    return {scale: load(name, path) for scale, path in ((4, args.sr), (2, args.sr), (1, args.same)) if path}


def looking(name, args, nets):
    """Those of the graphs with stills: `nets`, as of networks(), or with weights of their own."""
    own = dict.fromkeys((4, 2), load(name, args.looking)) if args.looking else {}
    return {scale: net for scale, net in {**nets, **own}.items() if net.stills}


# How much of what is added calls take, by model, scale and codec. Of full-size pictures: what VP9 leaves of a soft background is taken for a camera's
# blur (0.015 dB lost on the clip bee), and all the more what SVT-AV1 does; libaom's pictures gain 0.01 dB. Of small ones: what encoders change from picture to
# picture is made sharper, too, which costs more flicker than detail is gained (README.md, "A little less is steadier").
FULL_SIZE = {"vp9": 0.25, "av1": 0}
CAREFUL = {
    "swift": {4: {"vp8": 0.9, "vp9": 0.8, "av1": 0.55, "h264": 0.85}, 2: {"vp8": 0.9, "vp9": 0.8, "av1": 0.7, "h264": 0.8}, 1: FULL_SIZE},
    "clear": {4: {"vp8": 0.9, "vp9": 0.8, "av1": 0.65, "h264": 0.85}, 2: {"vp8": 0.85, "vp9": 0.8, "av1": 0.7, "h264": 0.8}, 1: FULL_SIZE},
    "swift-lite": {4: {"vp8": 0.8, "vp9": 0.75, "av1": 0.65, "h264": 0.75}, 2: {"vp8": 0.8, "vp9": 0.75, "av1": 0.75, "h264": 0.75}},
}


def serialised(made):
    """(bytes, checksum) of a graph."""
    onnx.checker.check_model(made)
    data = made.SerializeToString()
    return data, hashlib.sha256(data).hexdigest()


def variant(net, name, careful, sharp):
    """(bytes by file, manifest entry) of one variant; careful: CAREFUL of the model; sharp: the network of the graph with stills, or None."""
    task, scale, fill = FILES[name]
    make, layout = (graph.integers, "nhwc") if net.quantised else (graph_floats.floats, "nchw")
    data, checksum = serialised(make(net, scale, fill))
    files, references = {name: data}, {}
    if sharp:
        with_stills, tables = (name.replace(".onnx", f"-{kind}.onnx") for kind in ("stills", "tables"))
        made = make(sharp, scale, fill, stills=True)
        host = [node.name for node in made.graph.node if node.name.startswith(graph.HOST)]
        files[with_stills], stills_checksum = serialised(made)
        files[tables], tables_checksum = serialised(graph.tables(scale))
        references = {"references": {
            "file": with_stills, "sha256": stills_checksum, "tablesFile": tables, "tablesSha256": tables_checksum, "still": "still", "max": STILLS,
            "tables": [{"output": f"{key}_out", "input": f"{key}_in", "dtype": "uint8"}
                       for key, _ in graph.TABLES],
            "found": "found_out", **({"hostNodes": host} if host else {})}}
    state = [{"input": f"{key}_in", "output": f"{key}_out", "dtype": dtype, "shape": shape}
             for key, (dtype, shape) in graph.state_shapes(net, scale, layout).items()]
    return files, {"file": name, "sha256": checksum, "task": task, "scale": scale,
                  "fold": GRID * models.CELL // scale // 2, "T": 1,
                  "luma": "luma", "chroma": "chroma", "strength": "strength", **({"strengths": careful[scale]} if scale in careful else {}),
                  **({"mask": "mask"} if graph.masked(scale, fill) else {}),
                  "lumaOut": "luma_out", "chromaOut": "chroma_out", "state": state, **references}


def used(net, scale):
    """Weights that one variant needs."""
    own = ("heads", "masks", "biases", "tails", "skips")
    return sum(p.numel() for n, p in net.named_parameters() if n.split(".")[0] not in own or n.split(".")[1] == str(scale))


def replace(path, data):
    tmp = path.with_name(path.name + ".tmp")
    tmp.write_bytes(data)
    os.replace(tmp, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(models.CONFIGS), required=True)
    add_weights(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--lighter")
    parser.add_argument("--evaluation", type=Path, help="evaluate.py's JSON: its summary goes into the manifest")
    parser.add_argument("--training-data", default=TRAINING_DATA)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    nets = networks(args.model, args)
    sharp = looking(args.model, args, nets)
    files, variants = {}, []
    for name, (_, scale, _) in FILES.items():
        if scale in nets:
            made, entry = variant(nets[scale], name, CAREFUL[args.model], sharp.get(scale))
            files |= made
            variants.append(entry)
    what = "full model" if args.lighter else "light model, the load ladder's second step"
    more = "; at 720p deblurring, artefact removal and inpainting" if args.same else ""
    numbers = " in 8-bit integers" if rounds(args.model) else ""
    manifest = {
        "schema": 1, "name": args.model, "version": args.version,
        "description": f"Causal recurrent luma restoration{numbers}: x4 from 180p and x2 from 360p to 720p{more} ({what}).",
        "licence": "Apache-2.0", **({"lighter": args.lighter} if args.lighter else {}),
        "weights": max(used(net, scale) for scale, net in nets.items()), "trainingData": args.training_data,
        "variants": variants,
        "evaluation": json.loads(args.evaluation.read_text())["summary"] if args.evaluation else [],
    }
    for name, data in files.items():
        replace(args.out / name, data)
    for stale in set(args.out.glob("*.onnx")) - {args.out / name for name in files}:
        stale.unlink()
    replace(args.out / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    print("wrote", args.out, args.version, manifest["weights"], "weights", {n: len(d) for n, d in files.items()})


if __name__ == "__main__":
    main()
