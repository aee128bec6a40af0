/** What /readyz says: a list of what is still missing, empty when the relay can take calls. */
export class Readiness {
  readonly #missing = new Map<string, string>();
  readonly #probes: (() => string | null)[] = [];

  /** Something that has to come up first. */
  expect(part: string, why: string): void {
    this.#missing.set(part, why);
  }

  /** Idempotent. */
  fulfil(part: string): void {
    this.#missing.delete(part);
  }

  /** Asked each time; returns what is missing, or null. */
  addProbe(probe: () => string | null): void {
    this.#probes.push(probe);
  }

  get missing(): string[] {
    return [...this.#missing.values(), ...this.#probes.flatMap((probe) => probe() ?? [])];
  }
}
