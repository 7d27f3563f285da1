/**
 * Writes a golden repository: small, of every kind of object, the same bytes at every run. Run once for a format:
 *   script/node tools/write-golden.ts test/golden/format-1-draft
 * A golden repository of a frozen format is never written again; a "draft" may be, until it is frozen.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ManualClock, must, SeededRandom } from '#base'
import { MemoryDevice, stampedBytes } from '#engine/block'
import { FolderStore, type PointRecord, prune, Repository } from '#engine/repository'
import { backUp, type BackupDisk } from '#engine/transfer'

const PASSPHRASE = 'golden, and not secret'
const CHUNK = 64 * 1024
const README = `# A golden repository

Written once by \`tools/write-golden.ts\`, never by hand. The passphrase is \`${PASSPHRASE}\`; its key derivation is cheap on
purpose. \`sums.json\` names the SHA-256 of every disk and attachment of every live point. It holds a full, an incremental
and a scan of one machine, a full of another with an attachment, a forgotten point, what prune made of its packs, and checkpoints;
and after that two incrementals with delta nodes.

As long as the format is called a draft this folder may be written anew; once it is frozen, it never is.
`

type Versions = Readonly<Record<number, number>>

/** A disk of `chunks` chunks and some odd sectors. Half of every written chunk is stamped, the rest is zeros. */
function disk(number: number, chunks: number, versions: Versions): Uint8Array {
  const bytes = new Uint8Array(chunks * CHUNK + 3 * 512)
  for (const [chunk, version] of Object.entries(versions)) {
    const offset = Number(chunk) * CHUNK
    const length = Math.min(CHUNK / 4, bytes.length - offset)
    bytes.set(stampedBytes({ disk: number, version }, offset, length), offset)
  }
  return bytes
}

class GoldenWriter {
  readonly #repository: Repository
  readonly #clock: ManualClock
  readonly #random: SeededRandom
  readonly sums: Record<string, Record<string, string>> = {}

  constructor(repository: Repository, clock: ManualClock, random: SeededRandom) {
    this.#repository = repository
    this.#clock = clock
    this.#random = random
  }

  async point(
    note: string,
    machine: string,
    bytes: Uint8Array,
    changes: BackupDisk['changes'],
    more: Readonly<{ parentPoint?: string; attachments?: { name: string; bytes: Uint8Array }[] }> = {},
  ): Promise<PointRecord> {
    this.#clock.advance(3600_000)
    const source = { opened: MemoryDevice.from(bytes) }
    const record = await backUp(
      this.#repository,
      {
        machine,
        takenAtMs: this.#clock.nowMs(),
        consistency: 'crash',
        notes: [note],
        disks: [{ id: `${machine}-0`, lun: 0, format: 'raw', sizeBytes: bytes.length, source, changes }],
        ...more,
      },
      {
        store: this.#repository.store,
        clock: this.#clock,
        random: this.#random,
        writer: 'holdfast golden',
        packBytesTarget: 48 * 1024,
      },
    )
    const files = (more.attachments ?? []).map(({ name, bytes: content }) => [name, sumOf(content)])
    this.sums[note] = { 'disk 0': sumOf(bytes), ...Object.fromEntries(files) }
    return record
  }
}

function sumOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function fill(repository: Repository, clock: ManualClock, random: SeededRandom): Promise<GoldenWriter['sums']> {
  const writer = new GoldenWriter(repository, clock, random)
  const gone = await writer.point('forgotten', 'old', disk(9, 12, { 0: 1, 3: 1, 7: 1 }), {
    kind: 'all',
    reason: 'first_backup',
  })
  const first = disk(1, 300, { 0: 1, 1: 1, 2: 1, 40: 1, 270: 1, 300: 1 })
  const full = await writer.point('full', 'web', first, { kind: 'all', reason: 'first_backup' })
  const second = disk(1, 300, { 0: 1, 1: 2, 2: 1, 40: 1, 41: 2, 270: 1, 300: 1 })
  const dirty = [1, 41].map((chunk) => ({ offset: chunk * CHUNK, length: CHUNK }))
  const parent = must(full.disks[0], 'One disk')
  await writer.point('incremental', 'web', second, { kind: 'since', dirty, parent }, { parentPoint: full.id })
  const third = disk(1, 300, { 0: 3, 1: 2, 2: 1, 41: 2, 300: 1 })
  const scan = await writer.point('scan', 'web', third, { kind: 'all', reason: 'bitmap_missing' })
  const attachments = [{ name: 'nvram', bytes: disk(7, 1, { 0: 1 }) }]
  const other = disk(2, 20, { 0: 1, 5: 1, 9: 1 })
  await writer.point('attached', 'db', other, { kind: 'all', reason: 'first_backup' }, { attachments })
  await repository.forget([gone.id, full.id])
  clock.advance(3 * 3600_000)
  await prune(repository, { clock, random }, { wasteShareMax: 0.1 })
  await writeDeltas(writer, scan, third)
  delete writer.sums['forgotten']
  delete writer.sums['full']
  return writer.sums
}

/** Two incrementals of small changes: some sectors of two chunks with data and one without, then one of them as zeros. */
async function writeDeltas(writer: GoldenWriter, parentPoint: PointRecord, before: Uint8Array): Promise<void> {
  let [parent, bytes] = [parentPoint, before]
  for (const [note, places] of [
    ['small', [1, 41, 280]],
    ['small again', [1, 290]],
  ] as const) {
    bytes = Uint8Array.from(bytes)
    const dirty = places.map((chunk) => ({ offset: chunk * CHUNK + 8192, length: 8192 }))
    for (const { offset, length } of dirty) bytes.set(stampedBytes({ disk: 1, version: 4 }, offset, length), offset)
    if (note === 'small again') bytes.fill(0, CHUNK + 8192, CHUNK + 12_288)
    const changes = { kind: 'since', dirty, parent: must(parent.disks[0], 'One disk') } as const
    parent = await writer.point(note, 'web', bytes, changes, { parentPoint: parent.id })
  }
}

async function main(folder: string): Promise<void> {
  if (existsSync(folder))
    throw new Error(`${folder} exists: a golden repository is never written over. Remove a draft first.`)
  const [clock, random] = [new ManualClock(1_790_000_000_000), new SeededRandom(20_260)]
  const cacheFolder = await mkdtemp(join(tmpdir(), 'holdfast-golden-'))
  const environment = { clock, random, cacheFolder, writer: 'holdfast golden', checkpoints: { entriesMin: 8 } }
  await mkdir(join(folder, 'repository'), { recursive: true })
  try {
    const store = await FolderStore.open(join(folder, 'repository'))
    const credential = { kind: 'passphrase', passphrase: PASSPHRASE } as const
    const kdfCost = { memoryKib: 8, passes: 1, parallelism: 1 }
    await Repository.init(store, { credential, chunkSizeBytes: CHUNK, kdfCost }, environment)
    const repository = await Repository.open(store, credential, environment)
    const sums = await fill(repository, clock, random)
    await repository.close()
    await writeFile(join(folder, 'sums.json'), `${JSON.stringify(sums, null, 2)}\n`)
    await writeFile(join(folder, 'README.md'), README)
  } finally {
    await rm(cacheFolder, { recursive: true })
  }
}

await main(must(process.argv[2], 'Name the folder to write'))
