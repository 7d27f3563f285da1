/** Holds docs/errors.md against the codes that the parts list, both ways. Pure, so that a test can plant differences. */

export type DocumentedCode = Readonly<{ code: string; exit: number; happened: string; remedy: string }>

/** The rows of the document's tables. */
export function documentedCodes(markdown: string): DocumentedCode[] {
  const rows = markdown.split('\n').filter((line) => line.startsWith('| `'))
  return rows.map((line) => {
    const [, name = '', exit = '', happened = '', remedy = ''] = line.split('|').map((cell) => cell.trim())
    return { code: name.replaceAll('`', ''), exit: Number(exit), happened, remedy }
  })
}

/** Every difference, as a sentence. @param coded every code of every part, with its exit code */
export function errorDocBreaches(
  documented: readonly DocumentedCode[],
  coded: readonly Readonly<{ code: string; exit: number }>[],
): string[] {
  const found: string[] = []
  const rows = Map.groupBy(documented, ({ code }) => code)
  for (const { code, exit } of coded) {
    const [row] = rows.get(code) ?? []
    if (row === undefined) found.push(`${code} is not in docs/errors.md`)
    else if (row.exit !== exit) found.push(`${code} exits ${exit}, but docs/errors.md says ${row.exit}`)
  }
  const known = new Set(coded.map(({ code }) => code))
  for (const [code, list] of rows) {
    if (!known.has(code)) found.push(`docs/errors.md explains ${code}, which no part raises`)
    if (list.length > 1) found.push(`docs/errors.md explains ${code} ${list.length} times`)
    if (list.some(({ happened, remedy }) => happened.length < 15 || remedy.length < 7))
      found.push(`docs/errors.md says too little about ${code}`)
  }
  if (known.size !== coded.length) found.push('two parts list the same code')
  return found
}
