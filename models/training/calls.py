"""Takes a package's scores in calls from what `vireo evaluate --json` wrote, for models that evaluate.py takes an hour for.

Usage: calls.py --package ../clear REPORT.json...     (the quality report keeps its own in the cache: vireo/quality/*/report.json)
Rows of evaluation.json that are not of calls stay as they are.
"""
import argparse
import json
from pathlib import Path

import numpy as np

POINTS = [(180, 60), (180, 120), (180, 240), (360, 120), (360, 250), (360, 500), (720, 250), (720, 500)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("reports", type=Path, nargs="+")
    args = parser.parse_args()
    manifest, out = json.loads((args.package / "manifest.json").read_text()), args.package / "evaluation.json"
    name, report, found = manifest["name"], json.loads(out.read_text()), {}
    for path in args.reports:
        rows = json.loads(path.read_text())["rows"]
        if not any(r["method"] == name for r in rows):
            continue
        for r in rows:
            place = POINTS.index(key) if (key := (r["uplinkHeight"], r["bitrate"] // 1000)) in POINTS else None
            if r["codec"] == "vp8" and place is not None and r["method"] in ("bilinear", "bicubic", name):
                found[place, r["clip"], r["method"]] = {
                    "clip": r["clip"], "codec": "vp8", "uplinkHeight": r["uplinkHeight"], "bitrate": r["bitrate"], "realBitrate": r["actualBitrate"],
                    "method": r["method"], "psnrY": r["psnrY"], "ssimY": r["ssimY"], "warpError": r["warpError"]}
    # The decoded picture is that of 720 lines enlarged, whatever the method.
    for (place, clip, method), r in list(found.items()):
        if r["uplinkHeight"] == 720 and method == "bicubic":
            found.setdefault((place, clip, "bilinear"), {**r, "method": "bilinear"})
    clips = list(dict.fromkeys(r["clip"] for r in report["rows"]))
    order = ("bilinear", "bicubic", name)
    calls = [found[place, clip, method] for place in range(len(POINTS)) for clip in clips for method in order if (place, clip, method) in found]
    if len(calls) != len(POINTS) * len(clips) * len(order):
        raise SystemExit(f"{len(calls)} rows of {len(POINTS) * len(clips) * len(order)}")
    summary = []
    for place, (height, kbps) in enumerate(POINTS):
        for method in order:
            of = [found[place, clip, method] for clip in clips]
            summary.append({"method": method, "codec": "vp8", "uplinkHeight": height, "bitrate": kbps * 1000, **{
                key: round(float(np.mean([r[key] for r in of])), digits) for key, digits in (("psnrY", 3), ("ssimY", 4), ("warpError", 2))}})
    report["version"] = manifest["version"]
    for part, new in (("rows", calls), ("summary", summary)):
        report[part] = new + [r for r in report[part] if r["codec"] != "vp8"]
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
