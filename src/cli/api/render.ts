/**
 * A result in the form that was asked for. `--query` is applied before, as `az` does: what is shown is what it gave.
 *
 *   json    one document, as the API gives it
 *   yaml    the same
 *   tsv     one line a row, values apart by a tab, no headings; objects are empty, lists their length (as az)
 *   table   for people; may change
 *
 * Pure.
 */
import { textTable } from '../text-table.ts'
import { textCell } from './words.ts'

export type Row = Readonly<Record<string, unknown>>

function isRow(value: unknown): value is Row {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Text without anything that would end the cell or the line. */
function cellText(value: unknown): string {
  if (Array.isArray(value)) return String(value.length)
  return textCell(value)
}

function tsvLine(value: unknown): string {
  if (Array.isArray(value)) return value.map(cellText).join('\t')
  return isRow(value) ? Object.values(value).map(cellText).join('\t') : cellText(value)
}

/** Lines without a newline at the end; '' for nothing. */
export function tsv(value: unknown): string {
  return Array.isArray(value) ? value.map(tsvLine).join('\n') : tsvLine(value)
}

/** "diskSizeGb" as "DiskSizeGb". */
function heading(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1)
}

function isScalar(value: unknown): boolean {
  return typeof value !== 'object'
}

/** Whatever a query gave, as a table: of objects their plain values, of lists their places, of anything else one column. */
export function anyTable(value: unknown): string {
  const items = Array.isArray(value) ? value : value === null || value === undefined ? [] : [value]
  if (items.length === 0) return ''
  if (items.every(isRow)) {
    const names = [...new Set(items.flatMap((row) => Object.keys(row).filter((name) => isScalar(row[name]))))]
    return textTable(
      names.map(heading),
      items.map((row) => names.map((name) => cellText(row[name]))),
    )
  }
  if (items.every((item) => Array.isArray(item))) {
    const width = Math.max(...items.map((item) => item.length))
    const names = Array.from({ length: width }, (_, i) => `Column${i + 1}`)
    return textTable(
      names,
      items.map((item) => names.map((_, i) => cellText(item[i]))),
    )
  }
  return textTable(
    ['Result'],
    items.map((item) => [isRow(item) ? JSON.stringify(item) : cellText(item)]),
  )
}
