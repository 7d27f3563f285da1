/** Sets of pack ordinals as text: ascending ranges, "0-12,40". */

export function encodeOrdinals(ordinals: Iterable<number>): string {
  const sorted = [...new Set(ordinals)].sort((a, b) => a - b)
  const runs: [number, number][] = []
  for (const ordinal of sorted) {
    const last = runs.at(-1)
    if (last !== undefined && ordinal === last[1] + 1) last[1] = ordinal
    else runs.push([ordinal, ordinal])
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',')
}

/** The ordinals below `bound` that the text names; what lies beyond is dropped, so that a hostile text stays harmless. */
export function decodeOrdinals(text: string, bound: number): number[] {
  if (text === '') return []
  let next = 0
  return text.split(',').flatMap((run) => {
    const [from = 0, last = from] = run.split('-').map(Number)
    const first = Math.max(from, next) // runs ascend; one that goes back names nothing twice
    next = Math.max(next, last + 1)
    const length = Math.max(0, Math.min(last, bound - 1) - first + 1)
    return Array.from({ length }, (_, i) => first + i)
  })
}
