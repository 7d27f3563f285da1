/**
 * Backing a machine up: every disk of one instant into one recovery point.
 *
 *   step              what a crash right after it leaves          what the next run does
 *   1 pin             a pin that runs out by itself               nothing
 *   2 read and store  packs that no log entry names               finds nothing of them; prune removes them
 *   3 commit          the point exists                            (the source is told only now: see the instant's commit)
 *
 * The point becomes visible in one step, whole. A run whose packs were pruned under it (it was stopped for longer than its
 * pin lasts) stores again what is missing and commits anew; it never commits a point that rests on something deleted.
 */
import {
  assert,
  type Clock,
  must,
  type ProgressSink,
  type Random,
  silentProgress,
  toHex,
  DISK_BYTES_MAX,
  SECTOR_BYTES,
} from '#base'
import { type BlockSource, type ByteRange, type SourceDescriptor, totalBytes } from '#engine/block'
import {
  type AttachmentRecord,
  contentHash,
  type DiskRecord,
  isoOf,
  isPrunedUnder,
  type PointRecord,
  type Repository,
  type Session,
  SharedIdSet,
  type StoreDescriptor,
  type BlobStore,
  worstMode,
  type Written,
} from '#engine/repository'
import { DELTA_LIMITS, type DeltaLimits } from './delta-plan.ts'
import { planDisk, type PlannedDisk } from './disk-plan.ts'
import { TransferError } from './errors.ts'
import type { BackupSource } from './threads/backup-runner.ts'
import { defaultThreads, ThreadPool } from './threads/thread-pool.ts'
import { writeVersion } from './version-write.ts'

export type BackupDisk = Readonly<{
  id: string
  lun: number
  format: string
  sizeBytes: number
  /** A descriptor for work in threads, or an opened device for work inline. */
  source: SourceDescriptor | Readonly<{ opened: BlockSource }>
  /**
   * all: read what is allocated; `reason` says why (first_backup makes it a full, anything else a scan).
   * since: only `dirty` (and `guardBytes`, to try it) is read; the rest is as in `parent`, of the `parentPoint` here or below.
   */
  changes:
    | Readonly<{ kind: 'all'; reason: string }>
    | Readonly<{
        kind: 'since'
        dirty: readonly ByteRange[]
        guardBytes?: number
        parent: DiskRecord
        parentPoint?: string
      }>
  generation?: string
  /** The read-only qcow2 image that the disk is an overlay on. */
  base?: string
}>

export type BackupInput = Readonly<{
  machine: string
  machineUuid?: string
  takenAtMs: number
  consistency: PointRecord['consistency']
  /** Why it is less than was asked for. */
  consistencyReasons?: readonly string[]
  group?: PointRecord['group']
  notes: readonly string[]
  disks: readonly BackupDisk[]
  /** The newest point that `since` disks build on; present exactly when there are any. */
  parentPoint?: string
  description?: unknown
  attachments?: readonly Readonly<{ name: string; bytes: Uint8Array }>[]
  expiresAtMs?: number
  /** Lock the point for so long; the repository's policy may make it longer. */
  lockMs?: number
  chunkSizeBytes?: number
}>

export type BackupOptions = Readonly<{
  /** How threads reach the store: a descriptor. A store object (in memory, faulty) is only reachable inline. */
  store: StoreDescriptor | BlobStore
  clock: Clock
  random: Random
  writer: string
  threads?: number
  progress?: ProgressSink
  signal?: AbortSignal
  /** Absent: the repository's own target. Smaller packs are for tests. */
  packBytesTarget?: number
  /** How far delta nodes go; NO_DELTAS writes none. Default: DELTA_LIMITS. */
  deltas?: DeltaLimits
  /** Asked when all is read and before anything is committed: throws when what was read may not be trusted. */
  beforeCommit?: () => Promise<void>
  /** Told in a sentence what somebody should look into, although the backup goes on. */
  onWarning?: (sentence: string) => void
}>

/** Below this a single writer makes fewer, fuller packs and starts faster than threads do. */
const INLINE_BYTES_MAX = 48 * 1024 * 1024
const ATTACHMENT_BYTES_MAX = 64 * 1024 * 1024
const ATTEMPTS_MAX = 3
/** In-run duplicates are looked for among this many chunks; more are stored twice, which is legal. 160 MiB of memory. */
const CLAIMS_MAX = 6 * 1024 * 1024

/**
 * Makes a recovery point of `input`'s disks and commits it.
 * @throws what the sources, the store and the repository raise; nothing is committed then
 */
export async function backUp(repository: Repository, input: BackupInput, options: BackupOptions): Promise<PointRecord> {
  for (const disk of input.disks) checkSize(disk)
  if (input.lockMs !== undefined) repository.immutability.locks.assertSupported()
  const session = await repository.beginSession(`backup of ${input.machine}`)
  try {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await attemptBackup(repository, session, input, options)
      } catch (error) {
        if (!isPrunedUnder(error) || attempt === ATTEMPTS_MAX) throw error
        await session.beginAgain()
      }
    }
  } catch (error) {
    await session.end().catch(() => {
      // The first error is what matters, and the pin runs out by itself.
    })
    throw error
  }
}

function checkSize(disk: BackupDisk): void {
  if (disk.sizeBytes > 0 && disk.sizeBytes % SECTOR_BYTES === 0 && disk.sizeBytes <= DISK_BYTES_MAX) return
  throw new TransferError(
    'disk_size_invalid',
    `Disk ${disk.lun} has ${disk.sizeBytes} bytes; a disk has whole sectors of 512 bytes, up to 64 TiB.`,
    {
      facts: { lun: disk.lun, sizeBytes: disk.sizeBytes },
      hint: 'Resize the image to a multiple of 512 bytes ("qemu-img resize").',
    },
  )
}

async function attemptBackup(
  repository: Repository,
  session: Session,
  input: BackupInput,
  options: BackupOptions,
): Promise<PointRecord> {
  const index = await repository.index()
  await repository.log.refresh()
  await index.refresh()
  const planned: PlannedDisk[] = []
  for (const disk of input.disks) planned.push(await planDisk(repository, input, disk, options.deltas ?? DELTA_LIMITS))
  const readTotal = planned.reduce((sum, disk) => sum + totalBytes(disk.ranges), 0)
  const pool = await startPool(repository, session, planned, readTotal, options)
  try {
    const run = new BackupRun(repository, session, planned, pool, options, readTotal)
    const disks: DiskRecord[] = []
    for (const i of planned.keys()) disks.push(await run.disk(i))
    const attachments: AttachmentRecord[] = []
    for (const { name, bytes } of input.attachments ?? []) attachments.push(await run.attachment(name, bytes))
    const written = (await pool.runOnEach({ kind: 'flush' })) as Written[]
    await options.beforeCommit?.()
    return await commit(repository, session, input, options, disks, attachments, written)
  } finally {
    await pool.close()
  }
}

async function startPool(
  repository: Repository,
  session: Session,
  planned: readonly PlannedDisk[],
  readTotal: number,
  options: BackupOptions,
): Promise<ThreadPool<'backup'>> {
  const inlineOnly = 'put' in options.store || planned.some(({ disk }) => 'opened' in disk.source)
  const threads = inlineOnly || readTotal <= INLINE_BYTES_MAX ? 0 : (options.threads ?? defaultThreads())
  const chunks = planned.reduce(
    (sum, { ranges, chunkSizeBytes }) => sum + totalBytes(ranges) / chunkSizeBytes + ranges.length,
    0,
  )
  const claims = SharedIdSet.forIds(Math.min(CLAIMS_MAX, Math.ceil(chunks) + 1024)).buffer
  const sources = planned.map(({ disk, chunkSizeBytes }) => {
    const size = { sizeBytes: disk.sizeBytes, chunkSizeBytes }
    return 'opened' in disk.source
      ? { opened: disk.source.opened, ...size }
      : ({ source: disk.source, ...size } satisfies BackupSource)
  })
  const init = {
    store: options.store,
    access: await repository.threadAccess(),
    claims,
    session: session.number,
    sources,
    ...(threads === 0 ? { random: options.random } : {}),
    ...(options.packBytesTarget === undefined ? {} : { packBytesTarget: options.packBytesTarget }),
  }
  return ThreadPool.start('backup', init, { threads, signal: options.signal })
}

/** The disks of one attempt, one after the other through one pool. */
class BackupRun {
  readonly #repository: Repository
  readonly #session: Session
  readonly #planned: readonly PlannedDisk[]
  readonly #pool: ThreadPool<'backup'>
  readonly #options: BackupOptions
  readonly #totalBytes: number
  #doneBytes = 0

  constructor(
    repository: Repository,
    session: Session,
    planned: readonly PlannedDisk[],
    pool: ThreadPool<'backup'>,
    options: BackupOptions,
    totalBytes: number,
  ) {
    this.#repository = repository
    this.#session = session
    this.#planned = planned
    this.#pool = pool
    this.#options = options
    this.#totalBytes = totalBytes
  }

  async disk(i: number): Promise<DiskRecord> {
    const plan = must(this.#planned[i], 'Inside the list')
    const { disk, chunkSizeBytes, mode, nodes, parent, delta, ranges } = plan
    const since = disk.changes.kind === 'since' ? disk.changes : undefined
    const known = since?.parent
    const { root, usedBytes, readBytes, ...sum } = await writeVersion(
      {
        pool: this.#pool,
        nodes,
        onRead: async (readBytes) => {
          this.#report(disk.lun, readBytes)
          await this.#session.keepAlive()
        },
      },
      {
        disk: i,
        sizeBytes: disk.sizeBytes,
        chunkSizeBytes,
        ranges,
        mode: mode === 'incremental' ? 'changes' : 'whole',
        parent,
        parentRoot: known?.root ?? null,
        parentUsedBytes: known?.usedBytes ?? 0,
        delta,
      },
    )
    return {
      id: disk.id,
      lun: disk.lun,
      format: disk.format,
      mode,
      ...(disk.changes.kind === 'all' ? { reason: disk.changes.reason } : {}),
      virtualSizeBytes: disk.sizeBytes,
      usedBytes,
      readBytes: readBytes + (since?.guardBytes ?? 0),
      ...sum,
      chunkSizeBytes,
      root,
      ...(disk.generation === undefined ? {} : { generation: disk.generation }),
    }
  }

  /** Stores a small file that belongs to the machine. */
  async attachment(name: string, bytes: Uint8Array): Promise<AttachmentRecord> {
    if (bytes.length > ATTACHMENT_BYTES_MAX) {
      throw new TransferError(
        'attachment_too_large',
        `The attachment ${name} has ${bytes.length} bytes; at most 64 MiB are kept.`,
        { facts: { name } },
      )
    }
    const size = this.#repository.config.chunkSizeBytes
    const chunks: string[] = []
    for (let at = 0; at < bytes.length; at += size) {
      const part = bytes.slice(at, at + size)
      const content = contentHash(part)
      await this.#pool.runOne({ kind: 'chunk', content, bytes: part, as: 'data' })
      chunks.push(toHex(content))
    }
    return { name, sizeBytes: bytes.length, chunks }
  }

  #report(lun: number, readBytes: number): void {
    this.#doneBytes += readBytes
    const sink = this.#options.progress ?? silentProgress
    sink({
      task: `Reading disk ${lun}`,
      doneBytes: this.#doneBytes,
      totalBytes: Math.max(this.#totalBytes, this.#doneBytes),
    })
  }
}

async function commit(
  repository: Repository,
  session: Session,
  input: BackupInput,
  options: BackupOptions,
  disks: readonly DiskRecord[],
  attachments: readonly AttachmentRecord[],
  written: readonly Written[],
): Promise<PointRecord> {
  assert(disks.length === input.disks.length, 'Every protected disk appears exactly once')
  const usesBase = input.parentPoint !== undefined && disks.some(({ mode }) => mode === 'incremental')
  const reasons = input.consistencyReasons ?? []
  const record: PointRecord = {
    schema: 1,
    id: toHex(options.random.bytes(16)),
    machine: input.machine,
    ...(input.machineUuid === undefined ? {} : { machineUuid: input.machineUuid }),
    takenAt: isoOf(input.takenAtMs),
    consistency: input.consistency,
    ...(reasons.length === 0 ? {} : { consistencyReasons: reasons }),
    notes: input.notes,
    ...(input.group === undefined ? {} : { group: input.group }),
    mode: worstMode(disks.map(({ mode }) => mode)),
    ...(input.parentPoint === undefined ? {} : { parent: input.parentPoint }),
    ...(input.expiresAtMs === undefined ? {} : { expiresAtMs: input.expiresAtMs }),
    disks,
    ...(input.description === undefined ? {} : { description: input.description }),
    attachments,
    writer: options.writer,
  }
  const base = usesBase ? input.parentPoint : undefined
  await session.commit([
    {
      record,
      packs: written.flatMap(({ packs }) => packs),
      reliesOn: [...new Set([...written.flatMap(({ reliesOn }) => reliesOn), ...closuresBesides(repository, input)])],
      ...(base === undefined ? {} : { base }),
      ...(input.lockMs === undefined ? {} : { lockMs: input.lockMs }),
    },
  ])
  return record
}

/** The packs of parents in other points than the base, which an entry names one by one. */
function closuresBesides(repository: Repository, { disks, parentPoint }: BackupInput): number[] {
  const { state } = repository.log
  const points = new Set(disks.flatMap(({ changes }) => (changes.kind === 'since' ? (changes.parentPoint ?? []) : [])))
  return [...points].flatMap((id) => {
    const known = id === parentPoint ? undefined : state.everKnown(id)
    return known === undefined ? [] : [...state.closureOf(known.header)]
  })
}
