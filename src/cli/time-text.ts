/** "2026-09-22 14:03:07" in UTC. */
export function timeText(unixMs: number): string {
  return new globalThis.Date(unixMs).toISOString().slice(0, 19).replace('T', ' ')
}
