/** Time as text on a wire. */

/** RFC 3339 in UTC with milliseconds. @param unixMs since the epoch */
export function isoTime(unixMs: number): string {
  return new globalThis.Date(unixMs).toISOString()
}
