/** Cells of tables: sizes, times, names, and '' for what is not known. Times are in UTC. */
import { formatBytes } from '#base'
import { printable } from '../printable.ts'
import { timeText } from '../time-text.ts'

export function sizeCell(bytes: unknown): string {
  return typeof bytes === 'number' ? formatBytes(bytes) : ''
}

/** @param text RFC 3339 */
export function timeCell(text: unknown): string {
  if (typeof text !== 'string') return ''
  const ms = globalThis.Date.parse(text)
  return Number.isFinite(ms) ? timeText(ms) : ''
}

export function textCell(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? printable(String(value))
    : ''
}

/** One thing, a line a fact; facts that are not known are left out. */
export function factLines(facts: readonly (readonly [name: string, value: string])[]): string {
  const known = facts.filter(([, value]) => value !== '')
  const width = Math.max(...known.map(([name]) => name.length))
  return known.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}

export function tagsCell(tags: Readonly<Record<string, string>> | undefined): string {
  return Object.entries(tags ?? {})
    .map(([name, value]) => printable(`${name}=${value}`))
    .join(', ')
}
