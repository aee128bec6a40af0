const SAMPLES = 16;

/**
 * What one picture costs on the device, by model, and apart from that with a still to look details up in: the median of the last runs. Every output of
 * one height costs about the same whatever the input (one feature grid), so tracks share what they learn.
 */
export class CostModel {
  readonly #rings = new Map<string, { values: Float64Array; next: number; size: number }>();
  readonly #scratch = new Float64Array(SAMPLES);

  record(model: string, looksUp: boolean, perPictureMs: number): void {
    const key = keyOf(model, looksUp);
    let ring = this.#rings.get(key);
    if (ring === undefined) {
      ring = { values: new Float64Array(SAMPLES), next: 0, size: 0 };
      this.#rings.set(key, ring);
    }
    ring.values[ring.next] = perPictureMs;
    ring.next = (ring.next + 1) % SAMPLES;
    if (ring.size < SAMPLES) ring.size += 1;
  }

  /** Milliseconds; null before the first few runs. With a still it is what it is without, at least, as long as it is not known. */
  costMs(model: string, looksUp: boolean): number | null {
    const ring = this.#rings.get(keyOf(model, looksUp));
    if (ring === undefined || ring.size < 3) return looksUp ? this.costMs(model, false) : null;
    this.#scratch.set(ring.values.subarray(0, ring.size));
    return this.#scratch.subarray(0, ring.size).sort()[ring.size >> 1] ?? null;
  }
}

function keyOf(model: string, looksUp: boolean): string {
  return looksUp ? `${model} with a still` : model;
}
