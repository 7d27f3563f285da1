/** Columns as wide as their widest cell; numbers to the right. */
export function textTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headings, ...rows]
  const widths = headings.map((_, i) => Math.max(...all.map((row) => (row[i] ?? '').length)))
  const isNumber = headings.map(
    (_, i) => rows.length > 0 && rows.every((row) => /^[\d.]+( [KMGTP]?i?B)?$/.test(row[i] ?? '')),
  )
  const line = (row: readonly string[]): string =>
    widths
      .map((width, i) => (isNumber[i] === true ? (row[i] ?? '').padStart(width) : (row[i] ?? '').padEnd(width)))
      .join('  ')
      .trimEnd()
  return all.map(line).join('\n')
}
