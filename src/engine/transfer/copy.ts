/**
 * Copying points from one repository to another, which has a key of its own. Chunks travel in their stored form: opened
 * with the one key and sealed with the other, neither decompressed nor hashed; what the target has is not read at all.
 *
 * Points are committed one by one, oldest first, each whole. A crash leaves packs that nobody names and the points that
 * were done; running it again goes on from there.
 */
import { type ProgressSink, type Random, silentProgress } from '#base'
import {
  ChunkWriter,
  type ContentHash,
  type PointRecord,
  type Repository,
  SharedIdSet,
  walkContents,
} from '#engine/repository'

export type CopyOptions = Readonly<{ random: Random; progress?: ProgressSink; signal?: AbortSignal }>
export type CopyReport = Readonly<{
  copied: readonly string[]
  present: readonly string[]
  newBytes: number
  storedBytes: number
}>

const CLAIMS_MAX = 6 * 1024 * 1024

/** Copies `points` (all by default) that the target lacks. @throws what either repository raises; points done so far stay */
export async function copyPoints(
  source: Repository,
  target: Repository,
  points: readonly PointRecord[],
  options: CopyOptions,
): Promise<CopyReport> {
  await target.log.refresh()
  const there = new Set(target.points().map(({ id }) => id))
  const missing = points.filter(({ id }) => !there.has(id))
  const total = { copied: [] as string[], newBytes: 0, storedBytes: 0 }
  for (const point of missing) {
    const stored = await copyPoint(source, target, point, options)
    total.copied.push(point.id)
    total.newBytes += stored.newBytes
    total.storedBytes += stored.storedBytes
  }
  return { ...total, present: points.filter(({ id }) => there.has(id)).map(({ id }) => id) }
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
