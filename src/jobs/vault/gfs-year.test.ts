/**
 * A machine under a policy on a real repository, by a clock that is set: a backup every 4 hours changes its disk, retention is done after
 * each, and every night prune runs beside a backup. What is kept is exactly what the plan over all points that ever were would keep, each of
 * them restores to what the disk was at its time, and the store holds little more than they need.
 *
 * HOLDFAST_GFS_DAYS=366 makes it a year at 4 MiB per 4 hours (minutes); without it some weeks of less.
 */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { assert as must, KIB, ManualClock, MIB, SeededRandom } from '#base'
import { type BackupPolicy, checkPolicy, DAY_MS, type GfsPoint, nextSlot, planGfs } from '#domain'
import { type BlockSource, MemoryDevice } from '#engine/block'
import { openStore, type PointRecord, prune, PRUNE_DEFAULTS, Repository, repositoryStats } from '#engine/repository'
import { backUp, restoreDisk } from '#engine/transfer'

const DAYS = Number(process.env['HOLDFAST_GFS_DAYS'] ?? 24)
const isLong = DAYS > 60
const DISK_BYTES = (isLong ? 16 : 8) * MIB
const CHANGED_BYTES = isLong ? 4 * MIB : 512 * KIB
const CHUNK = 64 * KIB
const BLOCKS = DISK_BYTES / CHUNK

const POLICY: BackupPolicy = {
  version: 'V2',
  timeZone: 'W. Europe Standard Time',
  schedule: { kind: 'hourly', minute: 8 * 60, everyHours: 4, windowHours: 24 },
  rules: isLong
    ? {
        daily: { days: 30 },
        weekly: { on: ['Sunday'], weeks: 12 },
        monthly: { on: { by: 'weekday', days: ['Sunday'], weeks: ['First'] }, months: 12 },
        yearly: { in: ['January'], on: { by: 'date', dates: [1], last: false }, years: 2 },
      }
    : {
        daily: { days: 7 },
        weekly: { on: ['Sunday'], weeks: 2 },
        monthly: { on: { by: 'date', dates: [], last: true }, months: 1 },
      },
  instantDays: isLong ? 7 : 2,
  crashConsistentOnly: false,
}

/** A block says which it is and of which version, and does not compress. */
function fill(into: Uint8Array, block: number, version: number): void {
  const words = new Uint32Array(into.buffer, into.byteOffset, into.length / 4)
  let state = (Math.imul(block + 1, 0x9e3779b1) ^ Math.imul(version + 1, 0x85ebca6b)) >>> 0 || 1
  for (let at = 0; at < words.length; at += 1) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[at] = state
  }
}

type Taken = GfsPoint & Readonly<{ point: PointRecord; versions: Int32Array }>

class Year {
  readonly clock: ManualClock
  readonly random: SeededRandom
  readonly device = new MemoryDevice(DISK_BYTES)
  readonly versions = new Int32Array(BLOCKS)
  readonly folder: string
  readonly repository: Repository
  /** Another process's, that prunes. */
  readonly pruner: Repository
  readonly all: Taken[] = []
  live: Taken[] = []
  readonly #buffer = new Uint8Array(CHUNK)

  private constructor(
    folder: string,
    clock: ManualClock,
    random: SeededRandom,
    repository: Repository,
    pruner: Repository,
  ) {
    this.folder = folder
    this.clock = clock
    this.random = random
    this.repository = repository
    this.pruner = pruner
  }

  /**
   * Two processes' views of one store, in memory: the files of a folder are dated by the host's clock, not by the one that is set here,
   * and prune sweeps by their dates.
   */
  static async make(): Promise<Year> {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-year-'))
    const store = await openStore({ kind: 'memory', name: folder })
    const credential = { kind: 'passphrase', passphrase: 'year' } as const
    const clock = new ManualClock(Date.parse('2027-12-04T05:00:00Z')) // oxlint-disable-line no-restricted-globals -- a date that is written here
    const random = new SeededRandom(11)
    const environment = (name: string) => ({ clock, random, cacheFolder: join(folder, name), writer: 'test' })
    const kdfCost = { memoryKib: 8, passes: 1, parallelism: 1 }
    await Repository.init(store, { credential, chunkSizeBytes: CHUNK, kdfCost }, environment('a'))
    const repository = await Repository.open(store, credential, environment('a'))
    const pruner = await Repository.open(store, credential, environment('b'))
    return new Year(folder, clock, random, repository, pruner)
  }

  async change(step: number): Promise<{ offset: number; length: number }[]> {
    const dirty: { offset: number; length: number }[] = []
    for (let n = 0; n < CHANGED_BYTES / CHUNK; n += 1) {
      const word = this.random.bytes(4)
      const block = (((word[0] ?? 0) << 8) | (word[1] ?? 0)) % BLOCKS
      this.versions[block] = step + 1
      fill(this.#buffer, block, step + 1)
      await this.device.write(block * CHUNK, this.#buffer)
      dirty.push({ offset: block * CHUNK, length: CHUNK })
    }
    return dirty.sort((a, b) => a.offset - b.offset).filter((one, at, list) => one.offset !== list[at - 1]?.offset)
  }

  async backUp(step: number, slotMs: number, beforeRead: () => Promise<void>): Promise<void> {
    const dirty = await this.change(step)
    const parent = this.live.at(-1)?.point
    const [parentDisk] = parent?.disks ?? []
    const { device } = this
    const source: BlockSource = {
      sizeBytes: DISK_BYTES,
      parallelism: 4,
      extents: (offset, length) => device.extents(offset, length),
      close: async () => {},
      read: async (offset, into) => {
        await beforeRead()
        await device.read(offset, into)
      },
    }
    const changes =
      parentDisk === undefined || parent === undefined
        ? { kind: 'all' as const, reason: 'first_backup' }
        : { kind: 'since' as const, dirty, parent: parentDisk, parentPoint: parent.id }
    const disk = { id: 'd1', lun: 0, format: 'raw', sizeBytes: DISK_BYTES, source: { opened: source }, changes }
    const takenAtMs = this.clock.nowMs()
    const input = { machine: 'm', takenAtMs, consistency: 'crash' as const, notes: [], disks: [disk] }
    const from = parent === undefined ? {} : { parentPoint: parent.id }
    const { clock, random } = this
    const { store } = this.repository
    const point = await backUp(this.repository, { ...input, ...from }, { store, clock, random, writer: 'test' })
    const taken: Taken = {
      id: point.id,
      takenMs: takenAtMs,
      sequence: step,
      slotMs,
      isOnDemand: false,
      point,
      versions: this.versions.slice(),
    }
    this.all.push(taken)
    this.live.push(taken)
  }

  plan(points: readonly Taken[]): string[] {
    const plan = planGfs(points, POLICY, { nowMs: this.clock.nowMs(), mode: 'protected', softDeleteDays: 0 })
    return plan.filter(({ action }) => action === 'keep').map(({ point }) => point.id)
  }

  async retain(): Promise<void> {
    const kept = new Set(this.plan(this.live))
    const gone = this.live.filter(({ id }) => !kept.has(id)).map(({ id }) => id)
    if (gone.length > 0) await this.repository.forget(gone)
    this.live = this.live.filter(({ id }) => kept.has(id))
  }

  /** What the points that are kept need, block by block, each content once. */
  neededBytes(): number {
    const contents = new Set<number>()
    for (const { versions } of this.live)
      for (const [block, version] of versions.entries()) if (version > 0) contents.add(version * BLOCKS + block)
    return contents.size * CHUNK
  }

  async packBytes(): Promise<number> {
    let sum = 0
    for await (const { sizeBytes } of this.repository.store.list('packs/')) sum += sizeBytes
    return sum
  }

  async assertRestores({ point, versions }: Taken): Promise<void> {
    const [disk] = point.disks
    must(disk !== undefined, 'A point has a disk')
    const target = new MemoryDevice(DISK_BYTES)
    await restoreDisk(this.repository, disk, { opened: target }, { store: this.repository.store, clock: this.clock })
    const [found, wanted] = [new Uint8Array(CHUNK), new Uint8Array(CHUNK)]
    for (const [block, version] of versions.entries()) {
      await target.read(block * CHUNK, found)
      if (version === 0) wanted.fill(0)
      else fill(wanted, block, version)
      assert.ok(Buffer.compare(found, wanted) === 0, `block ${block} of the point of ${point.takenAt}`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.repository.close()
    await this.pruner.close()
    await rm(this.folder, { recursive: true })
  }
}

test(`${DAYS} days at ${CHANGED_BYTES / KIB} KiB per 4 hours: kept is what is planned, it restores, and the store is bounded`, async (t) => {
  checkPolicy(POLICY)
  await using year = await Year.make()
  const { clock } = year
  const endMs = clock.nowMs() + DAYS * DAY_MS
  let largest = 0
  let [beside, quiet] = [0, 0]
  let deleted = 0
  for (let step = 0; ; step += 1) {
    const slotMs = nextSlot(POLICY, clock.nowMs())
    if (slotMs > endMs) break
    clock.advance(slotMs - clock.nowMs())
    // Every sixth backup meets the nightly prune of another process in its middle.
    let pruning: Promise<unknown> | undefined
    const isNightly = step % 6 === 5
    await year.backUp(step, slotMs, async () => {
      if (isNightly)
        pruning ??= prune(year.pruner, { clock, random: year.random }).then((report) => (deleted += report.deleted))
      await Promise.resolve()
    })
    await pruning
    await year.retain()
    if (!isNightly) continue
    beside = Math.max(beside, (await year.packBytes()) / year.neededBytes())
    // What the backup's stay held back goes with the next one; then no pack is waste by more than a quarter.
    deleted += (await prune(year.pruner, { clock, random: year.random })).deleted
    const [bytes, needed] = [await year.packBytes(), year.neededBytes()]
    largest = Math.max(largest, bytes)
    quiet = Math.max(quiet, bytes / needed)
    const bound = needed / (1 - PRUNE_DEFAULTS.wasteShareMax) + 2 * CHANGED_BYTES
    assert.ok(bytes <= bound, `after ${step} backups: ${bytes} bytes for ${needed} that are needed`)
  }
  await year.repository.log.refresh()
  const kept = year.live.map(({ id }) => id)
  assert.deepEqual(kept.toSorted(), year.plan(year.all).toSorted(), 'as one plan over all that ever was')
  assert.deepEqual(
    year.repository.points().map(({ id }) => id),
    kept,
  )
  assert.ok(deleted > 0, 'prune had something to do')
  for (const taken of year.live) await year.assertRestores(taken)
  const stats = repositoryStats(year.repository, clock.nowMs())
  t.diagnostic(
    `${year.all.length} backups, ${kept.length} kept; ${year.neededBytes()} bytes needed at the end, packs at most ${largest}: ` +
      `${quiet.toFixed(2)} times the need after a quiet prune, ${beside.toFixed(2)} after one beside a backup; ` +
      `${stats.logEntries} log entries, ${deleted} packs deleted`,
  )
})
