// The one kind of error that the client rejects with.

/**
 * `code` is the protocol's, or one of the client's own: `network` (no connection), `timeout` (no answer), `aborted` (by
 * your signal), `closed` (by you), `overflow` (you read too slowly, or too much waits).
 */
export class EdgewayError extends Error {
  /**
   * @param {string} code
   * @param {{ message?: string, retryable?: boolean, retryAfterMs?: number, unknownOutcome?: boolean, cause?: unknown }} [details]
   */
  constructor(code, { message = code, retryable = false, retryAfterMs, unknownOutcome = false, cause } = {}) {
    super(message, { cause });
    this.name = "EdgewayError";
    this.code = code;
    /** Whether the same call may succeed later. */
    this.retryable = retryable;
    /** Not before this. @type {number | undefined} */
    this.retryAfterMs = retryAfterMs;
    /** It may have happened all the same. */
    this.unknownOutcome = unknownOutcome;
  }

  /** @param {import("./wire.d.ts").Frame} frame an `error` of the protocol */
  static of({ code = "internal", message, retryable, retry_after_ms: retryAfterMs, unknown_outcome: unknownOutcome }) {
    return new EdgewayError(code, { message, retryable, retryAfterMs, unknownOutcome });
  }
}
