/**
 * Writes the golden repository of format 1: small, with everything that the format can hold, the same bytes at every run. Run once:
 *   script/node tools/write-golden.ts test/golden/format-1
 * A golden repository is never written again. Should this program one day write other bytes for the same work, the golden
 * repository shows that they are still read.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GIB, KIB, ManualClock, must, SeededRandom } from '#base'
import { addKeySlot, DAY_MS, FolderStore, type PointRecord, prune, Repository } from '#engine/repository'
import { backUp, type BackupInput, type DeltaLimits } from '#engine/transfer'
import { blockSum, GoldenDisk } from './golden-disk.ts'

const PASSPHRASE = 'golden, and not secret'
const KEY_FILE = 'golden key file: forty bytes, not secret'
const SECOND_PASSPHRASE = 'zwölf goldene Boxkämpfer'
const CHUNK = 64 * KIB
const HOUR_MS = 3600_000
const COST = { memoryKib: 8, passes: 1, parallelism: 1 }
const README = `# A golden repository of format 1

Written once by \`tools/write-golden.ts\`, never by hand, never again. Three key slots: the passphrases \`${PASSPHRASE}\` and
\`${SECOND_PASSPHRASE}\`, and a key file of the bytes \`${KEY_FILE}\`; their key derivation is cheap on purpose. \`sums.json\` names
what every disk (\`blockSum\` in \`tools/golden-disk.ts\`) and attachment (SHA-256) of every live point must come back as.

It holds fulls, incrementals and scans; trees of one, two and three levels, one that grew over a border, and disks that are all
holes; chains of delta nodes, a merged one, and one over holes; packed and plain chunks, two chunk sizes, attachments, descriptions; points
that were forgotten, that expire, that are locked; packs that were rewritten, deleted, doomed and not yet deleted; a stray that is
doomed; pins, also renewed, one of them still held; a policy; times of the store's clock and of an operator; checkpoints; locks as a
folder keeps them. A bucket holds the same objects, and locks of its own.
`

type More = Readonly<{ parent?: PointRecord; reason?: string; deltas?: DeltaLimits }> &
  Partial<Omit<BackupInput, 'machine' | 'disks' | 'notes' | 'takenAtMs'>>

class GoldenWriter {
  readonly repository: Repository
  readonly clock: ManualClock
  readonly random: SeededRandom
  readonly sums: Record<string, Record<string, string>> = {}

  constructor(repository: Repository, clock: ManualClock, random: SeededRandom) {
    this.repository = repository
    this.clock = clock
    this.random = random
  }

  /** A point of the disks as they are now: of what changed when `parent` is given, else of all. */
  async point(note: string, machine: string, disks: readonly GoldenDisk[], more: More = {}): Promise<PointRecord> {
    this.clock.advance(HOUR_MS)
    const { parent, reason = 'first_backup', deltas, ...rest } = more
    const input: BackupInput = {
      machine,
      takenAtMs: this.clock.nowMs(),
      consistency: 'crash',
      notes: [note],
      disks: disks.map((disk, lun) => {
        const { device } = disk
        const dirty = disk.takeDirty()
        const base = { id: `${machine}-${lun}`, lun, format: 'raw', sizeBytes: device.sizeBytes }
        const before = parent?.disks[lun]
        return before === undefined
          ? { ...base, source: { opened: device }, changes: { kind: 'all', reason }, generation: `${lun}`.repeat(32) }
          : { ...base, source: { opened: device }, changes: { kind: 'since', dirty, parent: before } }
      }),
      ...(parent === undefined ? {} : { parentPoint: parent.id }),
      ...rest,
    }
    const record = await backUp(this.repository, input, {
      store: this.repository.store,
      clock: this.clock,
      random: this.random,
      writer: 'holdfast golden',
      packBytesTarget: 48 * KIB,
      ...(deltas === undefined ? {} : { deltas }),
    })
    const sums: Record<string, string> = {}
    for (const [lun, { device }] of disks.entries()) sums[`disk ${lun}`] = await blockSum(device)
    for (const { name, bytes } of more.attachments ?? []) sums[name] = createHash('sha256').update(bytes).digest('hex')
    this.sums[note] = sums
    return record
  }

  async forget(...points: readonly PointRecord[]): Promise<void> {
    await this.repository.forget(points.map(({ id }) => id))
    for (const { notes } of points) delete this.sums[notes[0] ?? '']
  }

  async prune(): Promise<void> {
    await prune(this.repository, this, { wasteShareMax: 0.1 })
  }
}

/** Machines with trees of one and two levels, whose chunks are shared, forgotten, rewritten. */
async function writeTrees(golden: GoldenWriter): Promise<{ scan: PointRecord; web: GoldenDisk }> {
  const old = new GoldenDisk(9, 12 * CHUNK + 1536).stamp(1, CHUNK / 4, 0, 3 * CHUNK, 7 * CHUNK)
  const gone = await golden.point('forgotten', 'old', [old])
  const at = (...chunks: readonly number[]): number[] => chunks.map((chunk) => chunk * CHUNK)
  const web = new GoldenDisk(1, 300 * CHUNK + 1536)
    .stamp(1, CHUNK / 4, ...at(0, 1, 2, 40, 270))
    .stamp(1, 1536, 300 * CHUNK)
  const full = await golden.point('full', 'web', [web])
  web.stamp(2, CHUNK, ...at(1, 41))
  await golden.point('incremental', 'web', [web], { parent: full })
  web
    .stamp(3, CHUNK / 4, 0)
    .zero(40 * CHUNK, CHUNK)
    .zero(270 * CHUNK, CHUNK)
  const scan = await golden.point('scan', 'web', [web], { reason: 'bitmap_missing' })
  const plain = new GoldenDisk(2, 20 * CHUNK).stamp(1, CHUNK / 4, ...at(0, 5)).noise(9 * CHUNK, CHUNK)
  const nvram = new GoldenDisk(7, 2 * CHUNK)
    .stamp(1, CHUNK + 512, 0)
    .device.toBytes()
    .slice(0, CHUNK + 512)
  await golden.point('attached', 'db', [plain, new GoldenDisk(3, 8 * CHUNK)], {
    chunkSizeBytes: 2 * CHUNK,
    consistency: 'application',
    machineUuid: '6f1d0d34-8a32-4c4e-9f0e-1c8e4a7f0b55',
    description: { firmware: 'uefi', memoryMib: 512, networks: [] },
    attachments: [
      { name: 'nvram', bytes: nvram },
      { name: 'empty', bytes: new Uint8Array() },
    ],
    expiresAtMs: golden.clock.nowMs() + 400 * DAY_MS,
  })
  await golden.forget(gone, full)
  golden.clock.advance(3 * HOUR_MS)
  await golden.prune()
  return { scan, web }
}

/** Chains of delta nodes: over data, over holes, with zeros in them, merged. */
async function writeDeltas(golden: GoldenWriter, web: GoldenDisk, scan: PointRecord): Promise<void> {
  web.takeDirty()
  web.stamp(4, 8 * KIB, CHUNK + 8 * KIB, 41 * CHUNK + 8 * KIB, 280 * CHUNK + 8 * KIB)
  const small = await golden.point('small', 'web', [web], { parent: scan })
  web.stamp(5, 8 * KIB, 290 * CHUNK + 8 * KIB).zero(CHUNK + 8 * KIB, 4 * KIB)
  const again = await golden.point('small again', 'web', [web], { parent: small })
  web.stamp(6, 4 * KIB, 2 * CHUNK, 290 * CHUNK)
  await golden.point('merged', 'web', [web], { parent: again, deltas: { depthMax: 2, extentsMax: 64, chunksMax: 8 } })
  const empty = new GoldenDisk(4, 16 * CHUNK)
  const holes = await golden.point('holes', 'empty', [empty])
  await golden.point('over holes', 'empty', [empty.stamp(1, 512, 3 * CHUNK + 512)], { parent: holes })
}

/** A tree that grew over a border of levels, and one of three levels. */
async function writeLargeTrees(golden: GoldenWriter): Promise<void> {
  const disk = new GoldenDisk(5, 200 * CHUNK).stamp(1, 4 * KIB, 0, 199 * CHUNK)
  const before = await golden.point('before it grew', 'grows', [disk])
  disk.takeDirty()
  await disk.grow(300 * CHUNK + 512)
  disk.stamp(2, 4 * KIB, 280 * CHUNK)
  await golden.point('grown', 'grows', [disk], { parent: before })
  const large = new GoldenDisk(6, 4 * GIB + 9 * CHUNK + 512).stamp(1, 4 * KIB, 0, 2 * GIB, 4 * GIB + 8 * CHUNK)
  await golden.point('large', 'large', [large])
}

/** A policy, a locked point, and a silence after which the store's clock and then an operator are believed. */
async function writeLocks(golden: GoldenWriter, store: FolderStore): Promise<PointRecord> {
  const { repository, clock } = golden
  await repository.immutability.setPolicy({ state: 'unlocked', days: 2 })
  const disk = new GoldenDisk(8, 4 * CHUNK).stamp(1, CHUNK / 2, 0)
  await golden.point('locked', 'safe', [disk], { lockMs: 300 * DAY_MS })
  clock.advance(60 * DAY_MS)
  store.timeMs = async () => clock.nowMs() // as a bucket's server tells it
  const late = await golden.point('late', 'safe', [disk.stamp(2, CHUNK, CHUNK)], { reason: 'bitmap_missing' })
  store.timeMs = async () => undefined
  clock.advance(70 * DAY_MS)
  await repository.immutability.acceptTime()
  await repository.immutability.setPolicy({ state: 'disabled', days: 0 })
  return late
}

/** Somebody is at work, so a prune dooms and does not delete; and the last checkpoint holds all of it. */
async function writeUnfinished(golden: GoldenWriter, store: FolderStore, given: PointRecord): Promise<void> {
  const { repository } = golden
  const stray = golden.random.bytes(300)
  const name = createHash('sha256').update(stray).digest('hex')
  await store.put(`packs/${name.slice(0, 2)}/${name}`, [stray])
  const session = await repository.beginSession('golden reader')
  await session.beginAgain()
  await golden.forget(given)
  await golden.prune()
  const { log } = repository
  while (log.state.anchors.at(-1)?.number !== log.state.head) await log.append(() => ({ fields: {} }))
}

async function fill(golden: GoldenWriter, store: FolderStore): Promise<void> {
  const { repository, random, clock } = golden
  const slot = { repositoryId: repository.config.id, nowIso: new Date(clock.nowMs()).toISOString(), random, cost: COST }
  const file = { kind: 'key-file', bytes: Buffer.from(KEY_FILE) } as const
  const passphrase = { kind: 'passphrase', passphrase: SECOND_PASSPHRASE } as const
  await addKeySlot(store, repository.keys.master, { ...slot, credential: file, label: 'file' })
  await addKeySlot(store, repository.keys.master, { ...slot, credential: passphrase, label: 'second' })
  const { scan, web } = await writeTrees(golden)
  await writeDeltas(golden, web, scan)
  await writeLargeTrees(golden)
  const late = await writeLocks(golden, store)
  await writeUnfinished(golden, store, late)
}

async function main(folder: string): Promise<void> {
  if (existsSync(folder)) throw new Error(`${folder} exists: a golden repository is never written over.`)
  const [clock, random] = [new ManualClock(1_790_000_000_000), new SeededRandom(20_261)]
  const cacheFolder = await mkdtemp(join(tmpdir(), 'holdfast-golden-'))
  const environment = { clock, random, cacheFolder, writer: 'holdfast golden', checkpoints: { entriesMin: 8 } }
  await mkdir(join(folder, 'repository'), { recursive: true })
  try {
    const store = await FolderStore.open(join(folder, 'repository'), { clock })
    const credential = { kind: 'passphrase', passphrase: PASSPHRASE } as const
    const init = { credential, chunkSizeBytes: CHUNK, kdfCost: COST, reserveBytes: CHUNK }
    await Repository.init(store, init, environment)
    const repository = await Repository.open(store, credential, environment)
    const golden = new GoldenWriter(repository, clock, random)
    await fill(golden, store)
    await store.reserve.release() // random bytes that are no object
    await repository.close()
    await writeFile(join(folder, 'sums.json'), `${JSON.stringify(golden.sums, null, 2)}\n`)
    await writeFile(join(folder, 'README.md'), README)
  } finally {
    await rm(cacheFolder, { recursive: true })
  }
}

await main(must(process.argv[2], 'Name the folder to write'))
