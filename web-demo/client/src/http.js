// What the transports over plain HTTP have in common.

/**
 * @param {import("./wire.d.ts").Host} host
 * @param {string} path
 * @param {Record<string, string | number | undefined>} query
 * @param {AbortSignal} signal
 */
export function get(host, path, query, signal) {
  const url = new URL(path, host.base);
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
  const headers = { Authorization: `Bearer ${host.token()}` };
  return host.fetch(url, { headers, signal, cache: "no-store" });
}

/**
 * What a refusal says. Without the protocol's object it came from something in between.
 *
 * @param {Response} response
 * @returns {Promise<import("./wire.d.ts").End>}
 */
export async function endOf(response) {
  const { status, headers } = response;
  const told = await response.json().catch(() => null);
  const seconds = Number(headers.get("Retry-After") ?? NaN);
  return {
    status,
    code: told?.code,
    message: told?.message ?? `HTTP ${status}`,
    retryable: told?.retryable,
    retryAfterMs: told?.retry_after_ms ?? (seconds >= 0 ? seconds * 1000 : undefined),
  };
}
