/** Times and durations as Azure Backup writes them in filters and jobs. */

/** `2026-11-22 08:05:00 PM`, `11/22/2026 8:05:00 PM`, or ISO 8601; all in UTC. ms since the epoch; undefined when it is none. */
export function readFilterTime(text: string): number | undefined {
  const twelve = /^(\d{4})-(\d\d?)-(\d\d?) (\d\d?):(\d\d):(\d\d) ?([AP]M)$/i.exec(text.trim())
  const american = /^(\d\d?)\/(\d\d?)\/(\d{4}) (\d\d?):(\d\d):(\d\d) ?([AP]M)$/i.exec(text.trim())
  if (twelve !== null) return twelveHours(twelve[1], twelve[2], twelve[3], twelve.slice(4))
  if (american !== null) return twelveHours(american[3], american[1], american[2], american.slice(4))
  const ms = globalThis.Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text.replace(' ', 'T')}Z`)
  return Number.isNaN(ms) ? undefined : ms
}

function twelveHours(
  year: string | undefined,
  month: string | undefined,
  day: string | undefined,
  [hour, minute, second, half]: readonly string[],
): number | undefined {
  const hours = (Number(hour) % 12) + (half?.toUpperCase() === 'PM' ? 12 : 0)
  const ms = globalThis.Date.UTC(Number(year), Number(month) - 1, Number(day), hours, Number(minute), Number(second))
  return Number.isNaN(ms) ? undefined : ms
}

/** `PT1H2M3.4S`. */
export function durationText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 100) / 10)
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)]
  const rest = Math.round((seconds % 60) * 10) / 10
  return `PT${hours > 0 ? `${hours}H` : ''}${minutes > 0 ? `${minutes}M` : ''}${rest}S`
}
