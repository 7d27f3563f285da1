/**
 * Copying points from one repository to another, which has a key of its own. Chunks travel in their stored form: opened
 * with the one key and sealed with the other, neither decompressed nor hashed; what the target has is not read at all.
 *
 * Points are committed one by one, oldest first, each whole. A crash leaves packs that nobody names and the points that
 * were done; running it again goes on from there.
 *
 * What the target has given up does not come back by itself (and cannot under its id, which the log passes over): who asks for it
 * `again` gets it under another id, with the old one as its `origin`.
 */
import { type ProgressSink, type Random, silentProgress, toHex } from '#base'
import {
  ChunkWriter,
  type ContentHash,
  type PointRecord,
  type Repository,
  SharedIdSet,
  walkContents,
} from '#engine/repository'

export type CopyOptions = Readonly<{
  random: Random
  /** Copies also what the target has given up. */
  again?: boolean
  progress?: ProgressSink
  signal?: AbortSignal
}>
export type CopyReport = Readonly<{
  /** Ids in the target. */
  copied: readonly string[]
  present: readonly string[]
  /** Had been given up in the target, and were not copied. */
  givenUp: readonly string[]
  newBytes: number
  storedBytes: number
}>

const CLAIMS_MAX = 6 * 1024 * 1024

/** Copies those of `points` that the target lacks. @throws what either repository raises; points done so far stay */
export async function copyPoints(
  source: Repository,
  target: Repository,
  points: readonly PointRecord[],
  options: CopyOptions,
): Promise<CopyReport> {
  await target.log.refresh()
  const there = new Set(target.points().flatMap(({ id, origin = id }) => [id, origin]))
  const isGivenUp = ({ id }: PointRecord): boolean => !there.has(id) && target.log.state.everKnown(id) !== undefined
  const givenUp = options.again === true ? [] : points.filter(isGivenUp)
  const missing = points.filter((point) => !there.has(point.id) && !givenUp.includes(point))
  const total = { copied: [] as string[], newBytes: 0, storedBytes: 0 }
  for (const point of missing) {
    const id = isGivenUp(point) ? toHex(options.random.bytes(16)) : point.id
    const record = id === point.id ? point : { ...point, id, origin: point.id }
    const stored = await copyPoint(source, target, record, options)
    total.copied.push(id)
    total.newBytes += stored.newBytes
    total.storedBytes += stored.storedBytes
  }
  const idsOf = (some: readonly PointRecord[]): string[] => some.map(({ id }) => id)
  return { ...total, present: idsOf(points.filter(({ id }) => there.has(id))), givenUp: idsOf(givenUp) }
}

async function copyPoint(
  source: Repository,
  target: Repository,
  point: PointRecord,
  options: CopyOptions,
): Promise<{ newBytes: number; storedBytes: number }> {
  const { progress = silentProgress } = options
  const session = await target.beginSession(`copy of ${point.machine}`)
  try {
    const index = (await target.index()).reader
    const usedBytes = point.disks.reduce((sum, disk) => sum + disk.usedBytes, 0)
    const claims = SharedIdSet.forIds(Math.min(CLAIMS_MAX, Math.ceil(usedBytes / (64 * 1024)) + 1024))
    const writer = new ChunkWriter({
      store: target.store,
      keys: target.keys,
      index,
      claims,
      random: options.random,
      session: session.number,
    })
    const reader = await source.chunkReader()
    const stored = writer.storedSince()
    let doneBytes = 0
    for await (const group of walkContents((content) => reader.read(content), [point])) {
      options.signal?.throwIfAborted()
      doneBytes += await copyGroup(reader, writer, group)
      progress({
        task: `Copying ${point.machine} of ${point.takenAt}`,
        doneBytes,
        totalBytes: Math.max(usedBytes, doneBytes),
      })
      await session.keepAlive()
    }
    const written = await writer.flush()
    await session.commit([{ record: point, ...written }])
    return stored()
  } catch (error) {
    await session.end().catch(() => {
      // The first error is what matters, and the pin runs out by itself.
    })
    throw error
  }
}

async function copyGroup(
  reader: Awaited<ReturnType<Repository['chunkReader']>>,
  writer: ChunkWriter,
  group: readonly ContentHash[],
): Promise<number> {
  const requests = group.filter((content) => !writer.relyOn(content)).map((content) => ({ content, tag: content }))
  let bytes = 0
  await reader.readManyStored(requests, async (chunk, content) => {
    await writer.putStored(content, chunk)
    bytes += chunk.plainBytes
  })
  return bytes
}
