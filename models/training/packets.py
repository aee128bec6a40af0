"""Packets of an H.264 call that get lost, what a decoder shows then, and the macroblocks it has nothing for.

A slice is a packet. Losses are laid out on a time axis before anything is coded, so that the encoder can answer them
with key frames as it does in a call (a report, a round trip), and a seed gives the same ones again. VP8, VP9 and AV1
lose nothing here: their pictures are lost whole, and the relay shows none until a key frame, so there is nothing to
restore.
"""
import math
import random
import re
import subprocess
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

import video

MACROBLOCK = 16
SLICES = (1, 5)  # NAL unit types: a slice of a picture, of a key frame
DELIMITER = 9
MTU = 1100  # bytes of a slice, at most


@dataclass(frozen=True)
class Loss:
    rate: float = 0.0  # share of the time in which packets get lost
    burst: float = 0.0  # mean length of a burst, in pictures
    slices: float = 0.0  # wanted of an average picture; more where they would not fit the MTU
    recovery: float = 0.0  # seconds from the end of a burst to the key frame that answers it


def draw(rng):
    return Loss(math.exp(rng.uniform(math.log(0.01), math.log(0.1))), rng.uniform(0.2, 0.8), rng.uniform(2.5, 8),
                rng.uniform(0.1, 0.4))


def bursts(loss, pictures, rng):
    """[(start, end)] in pictures. The first picture is spared, and at least one burst lies past the first quarter."""
    found, at = [], 1.0
    while (at := at + rng.expovariate(loss.rate / loss.burst)) < pictures:
        found.append((at, at + rng.expovariate(1 / loss.burst)))
        at = found[-1][1]
    if not any(start >= pictures / 4 for start, _ in found):
        start = rng.uniform(max(1, pictures / 4), pictures - 1)
        found.append((start, start + rng.expovariate(1 / loss.burst)))
    return sorted(found)


def key_frames(losses, recovery):
    """Pictures that the encoder makes key frames of; while one is on its way no other is asked for."""
    keys = []
    for start, end in losses:
        if not keys or start >= keys[-1]:
            keys.append(math.ceil(end + recovery))
    return keys


def encode(raw, w, h, fps, kbps, slice_bytes, keys):
    """I420 frames as an Annex B stream whose pictures begin with an access unit delimiter: without one, two pictures of
    which slices are missing would run into each other."""
    forced = ["-force_key_frames", "expr:" + "+".join(f"eq(n,{k})" for k in keys)] if keys else []
    return subprocess.run(
        video.WITH_INPUT + video.i420_input(w, h, fps) + video.encoder_args("h264", kbps) + forced +
        ["-forced-idr", "1", "-aud", "1", "-slice-max-size", f"{slice_bytes:.0f}", "-threads", "1", "-f", "h264", "-"],
        input=raw, check=True, capture_output=True).stdout


def decode(stream, fps):
    """I420 frames, lost macroblocks concealed: what FFmpeg does unless told."""
    return subprocess.run(
        video.WITH_INPUT + ["-flags", "+output_corrupt+low_delay", "-f", "h264", "-framerate", f"{fps:.4f}", "-i", "-",
                            "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"],
        input=stream, check=True, capture_output=True).stdout


def kind(unit):
    return unit[0] & 31


def pictures(stream):
    """[[NAL unit, ...], ...] of an Annex B stream, one list a picture."""
    found = []
    for unit in re.split(b"\0\0\1", stream)[1:]:
        # A four-byte start code leaves its first zero here; no unit ends with one.
        unit = unit.rstrip(b"\0")
        if kind(unit) == DELIMITER:
            found.append([])
        found[-1].append(unit)
    return found


def first_macroblock(unit):
    """first_mb_in_slice, the Exp-Golomb code that a slice begins with (ITU-T H.264, 7.3.3 and 9.1)."""
    bits = "".join(f"{b:08b}" for b in unit[1:9].replace(b"\0\0\3", b"\0\0"))
    zeros = bits.index("1")
    return int(bits[zeros:2 * zeros + 1], 2) - 1


def slices(units):
    """Places of a picture's slices among its units."""
    return [i for i, unit in enumerate(units) if kind(unit) in SLICES]


def lost_slices(coded, losses, rng):
    """{(picture, place among its units)} of the slices on their way during a burst, at least one a burst.

    A picture always keeps one of its slices: where none arrives, the relay waits for a key frame and shows nothing."""
    times, places, lost = [], [], set()
    for t, units in enumerate(coded):
        found = slices(units)
        if len(found) > 1:
            times += [t + k / len(found) for k in range(len(found))]
            places += [(t, i) for i in found]
    for start, end in losses:
        first = bisect_left(times, start)
        lost.update(places[first:max(first + 1, bisect_left(times, end))])
    for t, units in enumerate(coded):
        if lost.issuperset(whole := [(t, i) for i in slices(units)]):
            lost.discard(rng.choice(whole))
    return lost


def lost_pixels(units, missing, w, h):
    """bool [h,w] of one picture; `missing` are the places of its lost slices."""
    rows, columns = -(-h // MACROBLOCK), -(-w // MACROBLOCK)
    lost = np.zeros(rows * columns, bool)
    found = slices(units)
    # Slices come in raster order: each ends where the next one begins.
    edges = [first_macroblock(units[i]) for i in found] + [rows * columns]
    for i, first, end in zip(found, edges, edges[1:]):
        lost[first:end] = i in missing
    return np.kron(lost.reshape(rows, columns), np.ones((MACROBLOCK, MACROBLOCK), bool))[:h, :w]


def damaged(stream, w, h, fps, losses, rng):
    """(I420 frames as a decoder shows them, bool [n,h,w] of the pixels that each picture lost)."""
    coded = pictures(stream)
    lost = lost_slices(coded, losses, rng)
    masks = np.stack([lost_pixels(units, {i for at, i in lost if at == t}, w, h) for t, units in enumerate(coded)])
    left = [unit for t, units in enumerate(coded) for i, unit in enumerate(units) if (t, i) not in lost]
    return decode(b"".join(b"\0\0\0\1" + unit for unit in left), fps), masks


def through_loss(raw, w, h, fps, kbps, loss, seed):
    """Encode, lose packets, decode: (I420 bytes, bool [n,h,w] of the pixels that each picture lost, kbit/s sent)."""
    count, rng = len(raw) // (w * h * 3 // 2), random.Random(seed)
    losses = bursts(loss, count, rng)
    slice_bytes = min(MTU, max(60, kbps * 125 / fps / loss.slices))
    stream = encode(raw, w, h, fps, kbps, slice_bytes, key_frames(losses, loss.recovery * fps))
    return *damaged(stream, w, h, fps, losses, rng), len(stream) * 8 * fps / count / 1000
