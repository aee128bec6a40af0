const SAMPLES = 16;

/**
 * What one picture costs on the device, by model: the median of the last runs. Every output of one height
 * costs about the same whatever the input (one feature grid), so tracks share what they learn.
 */
export class CostModel {
  readonly #rings = new Map<string, { values: Float64Array; next: number; size: number }>();
  readonly #scratch = new Float64Array(SAMPLES);

  record(model: string, perPictureMs: number): void {
    let ring = this.#rings.get(model);
    if (ring === undefined) {
      ring = { values: new Float64Array(SAMPLES), next: 0, size: 0 };
      this.#rings.set(model, ring);
    }
    ring.values[ring.next] = perPictureMs;
    ring.next = (ring.next + 1) % SAMPLES;
    if (ring.size < SAMPLES) ring.size += 1;
  }

  /** Milliseconds; null before the first few runs. */
  costMs(model: string): number | null {
    const ring = this.#rings.get(model);
    if (ring === undefined || ring.size < 3) return null;
    this.#scratch.set(ring.values.subarray(0, ring.size));
    return this.#scratch.subarray(0, ring.size).sort()[ring.size >> 1] ?? null;
  }
}
