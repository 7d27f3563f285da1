/**
 * What a full backup reads of a disk that is an overlay on a base: what the overlay holds, and where it holds nothing, what the base
 * does. An instant of a running machine tells only of the overlay: without this, all the rest of the disk would have to be read,
 * zeros for the most part. The base never changes, so its own map is right at any instant.
 */
import {
  alignRanges,
  type ByteRange,
  commonRanges,
  complementOf,
  mapImage,
  openNbd,
  type SourceDescriptor,
} from '#engine/block'

type Held = Readonly<{
  /** What must be read, by the source's word. */
  data: readonly ByteRange[]
  /** Of that, what the overlay itself does not hold. */
  unheld: readonly ByteRange[]
  /** What the base holds. */
  beneath: readonly ByteRange[]
  sizeBytes: number
}>

/** Pure. */
export function rangesOverBase({ data, unheld, beneath, sizeBytes }: Held): ByteRange[] {
  const own = commonRanges(data, complementOf(unheld, sizeBytes))
  const shared = commonRanges(commonRanges(data, unheld), beneath)
  return alignRanges(
    [...own, ...shared].toSorted((a, b) => a.offset - b.offset),
    1,
    sizeBytes,
  )
}

/** `data` as it was where the base cannot be mapped, or the source is not served by NBD. @throws BlockError */
export async function readOverBase(
  source: SourceDescriptor,
  data: readonly ByteRange[],
  base: string,
  sizeBytes: number,
): Promise<readonly ByteRange[]> {
  if (source.kind !== 'nbd') return data
  const mapped = await mapImage(base, 'qcow2')
  if (mapped.kind !== 'direct') return data
  const client = await openNbd({ socketPath: source.socketPath, exportName: source.exportName })
  try {
    const unheld = await client.unheld(0, sizeBytes)
    const held = mapped.map.runs.filter(({ kind }) => kind === 'data')
    const beneath = held.map(({ start, length }) => ({ offset: start, length }))
    return rangesOverBase({ data, unheld, beneath, sizeBytes })
  } finally {
    await client.close()
  }
}
