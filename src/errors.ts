/** Machine-readable reasons; the signalling protocol and the HTTP API carry them verbatim. */
export type VireoErrorCode =
  | 'bad-request'
  | 'unauthorized'
  | 'forbidden'
  | 'not-found'
  | 'conflict'
  | 'limit-reached'
  | 'room-full'
  | 'payload-too-large'
  | 'rate-limited'
  | 'unsupported'
  | 'config-invalid'
  | 'model-invalid'
  | 'media-invalid'
  | 'unavailable'
  | 'draining'
  | 'timeout'
  | 'internal';

const HTTP_STATUS: Record<VireoErrorCode, number> = {
  'bad-request': 400,
  unauthorized: 401,
  forbidden: 403,
  'not-found': 404,
  conflict: 409,
  'limit-reached': 429,
  'room-full': 403,
  'payload-too-large': 413,
  'rate-limited': 429,
  unsupported: 415,
  'config-invalid': 500,
  'model-invalid': 500,
  'media-invalid': 422,
  unavailable: 503,
  draining: 503,
  timeout: 504,
  internal: 500,
};

const RETRYABLE: ReadonlySet<VireoErrorCode> = new Set([
  'rate-limited',
  'unavailable',
  'draining',
  'timeout',
]);

/** The one error class of Vireo. Messages say what was wrong, where (field, file, flag) and what to do. */
export class VireoError extends Error {
  override readonly name = 'VireoError';
  readonly code: VireoErrorCode;

  constructor(code: VireoErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  /** HTTP status that fits the code. */
  get status(): number {
    return HTTP_STATUS[this.code];
  }

  /** Whether the same request may succeed later, unchanged. */
  get retryable(): boolean {
    return RETRYABLE.has(this.code);
  }

  /** Wraps anything thrown; a VireoError passes through. */
  static from(thrown: unknown, code: VireoErrorCode = 'internal'): VireoError {
    if (thrown instanceof VireoError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new VireoError(code, message, { cause: thrown });
  }
}
