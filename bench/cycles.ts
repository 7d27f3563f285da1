/**
 * npm run bench:cycles -- [--seconds 5,15] [--rate 400] [--cycles 20] [--size GIB] [--granularity chunk,4,16,64]
 *                         [--pattern uniform|hot] [--folder FOLDER]
 *
 * What a replication cycle of small random writes costs in the real repository (a folder store): bytes and packs stored,
 * CPU, and what reading the latest version costs after all cycles. `chunk`: bitmap and versions in whole chunks, no delta
 * nodes; 4, 16, 64: delta nodes, with a bitmap of so many KiB. The source's bytes are generated, half of them
 * compressible; the CPU of generating them is left out. Everything runs in one thread, so that CPU seconds compare.
 *   --pattern hot   nine writes in ten go to a twentieth of the disk
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { formatBytes, GIB, KIB, MIB, must, SeededRandom } from '#base'
import { alignRanges, type BlockSource, type ByteRange, type Extent } from '#engine/block'
import { type BlobStore, FolderStore, isDelta, type PointRecord, Repository } from '#engine/repository'
import { backUp, NO_DELTAS, openVersion } from '#engine/transfer'
import { systemClock, systemRandom } from '#runtime'
import { median } from './measure.ts'

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5,15' },
    rate: { type: 'string', default: '400' },
    cycles: { type: 'string', default: '20' },
    size: { type: 'string', default: '16' },
    granularity: { type: 'string', default: 'chunk,4,16,64' },
    pattern: { type: 'string', default: 'uniform' },
    folder: { type: 'string' },
  },
})

const CHUNK = 256 * KIB
const WRITE_BYTES = 4 * KIB
/** A cycle of whole chunks is like the one before. */
const CYCLES_MAX: Readonly<Record<string, number>> = { chunk: 3 }
/** The disk's first content repeats every so many bytes: deduplication makes the full backup small, not the cycles. */
const PERIOD_BYTES = GIB
const sizeBytes = Number(options.size) * GIB
const say = (text: string): void => void process.stdout.write(`${text}\n`)

/** 4 KiB that nobody else has: half random, half zeros in each sector. */
function fill(block: Uint32Array, seed: number): void {
  let state = Math.imul(seed, 2654435761) | 1
  for (let sector = 0; sector < block.length; sector += 128) {
    for (let i = 0; i < 64; i += 1) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      block[sector + i] = state
    }
  }
}

/** A disk that is generated as it is read: what it began with, and blocks that were written since. */
class GeneratedDisk implements BlockSource {
  readonly sizeBytes = sizeBytes
  readonly parallelism = 1
  readonly #written = new Map<number, number>()
  readonly #salt: number
  cpuMicros = 0
  #dirty = new Set<number>()
  #writes = 0

  constructor(salt: number) {
    this.#salt = salt
  }

  write(block: number): void {
    this.#writes += 1
    this.#written.set(block, this.#writes * 64 + this.#salt)
    this.#dirty.add(block)
  }

  takeDirty(granularity: number): ByteRange[] {
    const blocks = [...this.#dirty].sort((a, b) => a - b)
    this.#dirty = new Set()
    return alignRanges(
      blocks.map((block) => ({ offset: block * WRITE_BYTES, length: WRITE_BYTES })),
      granularity,
      sizeBytes,
    )
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    const before = process.cpuUsage()
    into.fill(0)
    const whole = new Uint32Array(WRITE_BYTES / 4)
    for (let at = 0; at < into.length; at += WRITE_BYTES) {
      const block = (offset + at) / WRITE_BYTES
      fill(whole, this.#written.get(block) ?? -1 - (block % (PERIOD_BYTES / WRITE_BYTES)))
      into.set(new Uint8Array(whole.buffer), at)
    }
    const { user, system } = process.cpuUsage(before)
    this.cpuMicros += user + system
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    return [{ offset, length, kind: 'data' }]
  }

  async close(): Promise<void> {}
}

/** The store, with what was read of it counted. */
function counted(store: BlobStore): { store: BlobStore; read: { bytes: number; requests: number } } {
  const read = { bytes: 0, requests: 0 }
  const proxy = new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      return async (...args: unknown[]): Promise<unknown> => {
        const result: unknown = await Reflect.apply(value, target, args)
        if (name === 'getRange' && result instanceof Uint8Array) {
          read.bytes += result.length
          read.requests += 1
        }
        return result
      }
    },
  })
  return { store: proxy, read }
}

class Bench {
  readonly #repository: Repository
  readonly #base: PointRecord
  readonly #store: BlobStore
  #machines = 0

  constructor(repository: Repository, store: BlobStore, base: PointRecord) {
    this.#repository = repository
    this.#store = store
    this.#base = base
  }

  async variant(granularity: string, seconds: number, cycles: number): Promise<void> {
    this.#machines += 1
    const disk = new GeneratedDisk(this.#machines)
    const random = new SeededRandom(seconds)
    let last = this.#base
    const costs: { stored: number; read: number; packs: number; cpu: number; wall: number; merged: boolean }[] = []
    for (let cycle = 0; cycle < cycles; cycle += 1) {
      for (let i = 0; i < Number(options.rate) * seconds; i += 1) disk.write(pickBlock(random))
      const [packs, cpu, start] = [this.#repository.log.state.packs.length, process.cpuUsage(), process.hrtime.bigint()]
      disk.cpuMicros = 0
      last = await this.#cycle(disk, granularity, last)
      const { user, system } = process.cpuUsage(cpu)
      const record = must(last.disks[0], 'One disk')
      costs.push({
        stored: record.storedBytes,
        read: record.readBytes,
        packs: this.#repository.log.state.packs.length - packs,
        cpu: (user + system - disk.cpuMicros) / 1e6,
        wall: Number(process.hrtime.bigint() - start) / 1e9,
        merged: cycle > 0 && isDelta(record.root) && record.root.delta === 1,
      })
    }
    const of = (field: 'stored' | 'read' | 'packs' | 'cpu' | 'wall'): number[] => costs.map((cost) => cost[field])
    const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
    const merges = costs.filter(({ merged }) => merged)
    say(
      `| ${granularity} | ${seconds} s | ${formatBytes(median(of('read')))} | ${formatBytes(median(of('stored')))} | ` +
        `${formatBytes(mean(of('stored')))} | ${formatBytes(Math.max(...of('stored')))} | ${mean(of('packs')).toFixed(1)} | ` +
        `${median(of('cpu')).toFixed(2)} s | ${Math.max(...of('cpu')).toFixed(2)} s | ${merges.length} | ${await this.#reading(last)} |`,
    )
  }

  async #cycle(disk: GeneratedDisk, granularity: string, parentPoint: PointRecord): Promise<PointRecord> {
    const chunkwise = granularity === 'chunk'
    const dirty = disk.takeDirty(chunkwise ? CHUNK : Number(granularity) * KIB)
    const parent = must(parentPoint.disks[0], 'One disk')
    return backUp(
      this.#repository,
      inputOf(`m${this.#machines}`, disk, { kind: 'since', dirty, parent }, parentPoint.id),
      { ...environment, store: this.#store, ...(chunkwise ? { deltas: NO_DELTAS } : {}) },
    )
  }

  /** Random 4 KiB reads, hardly any from the cache, and a run of 256 MiB: store bytes read per byte served. */
  async #reading(point: PointRecord): Promise<string> {
    const disk = must(point.disks[0], 'One disk')
    const random = new SeededRandom(1)
    const { store, read } = counted(this.#store)
    const openedAt = process.hrtime.bigint()
    const source = await openVersion(this.#repository, disk, { store })
    const openMs = Number(process.hrtime.bigint() - openedAt) / 1e6
    const into = new Uint8Array(WRITE_BYTES)
    const times: number[] = []
    for (let i = 0; i < 200; i += 1) {
      const start = process.hrtime.bigint()
      await source.read(random.below(sizeBytes / WRITE_BYTES) * WRITE_BYTES, into)
      times.push(Number(process.hrtime.bigint() - start) / 1e6)
    }
    const randomBytes = read.bytes
    const sequential = new Uint8Array(MIB)
    const start = process.cpuUsage()
    for (let i = 0; i < 256; i += 1) await source.read(GIB + i * MIB, sequential)
    const { user, system } = process.cpuUsage(start)
    await source.close()
    return (
      `${openMs.toFixed(0)} ms | ${formatBytes(randomBytes / 200)}, ${median(times).toFixed(1)} ms | ` +
      `${((read.bytes - randomBytes) / (256 * MIB)).toFixed(2)}, ${((user + system) / 1e6).toFixed(2)} s`
    )
  }
}

function pickBlock(random: SeededRandom): number {
  const blocks = sizeBytes / WRITE_BYTES
  return options.pattern === 'hot' && random.chance(0.9) ? random.below(blocks / 20) : random.below(blocks)
}

const environment = { clock: systemClock, random: systemRandom, writer: 'holdfast bench' }

function inputOf(
  machine: string,
  disk: GeneratedDisk,
  changes: Parameters<typeof backUp>[1]['disks'][number]['changes'],
  parentPoint?: string,
): Parameters<typeof backUp>[1] {
  return {
    machine,
    takenAtMs: systemClock.nowMs(),
    consistency: 'crash',
    notes: [],
    disks: [{ id: 'd', lun: 0, format: 'raw', sizeBytes, source: { opened: disk }, changes }],
    ...(parentPoint === undefined ? {} : { parentPoint }),
  }
}

async function main(folder: string): Promise<void> {
  await mkdir(join(folder, 'repository'))
  const store = await FolderStore.open(join(folder, 'repository'))
  const credential = { kind: 'passphrase', passphrase: 'bench' } as const
  const repositoryEnvironment = { ...environment, cacheFolder: join(folder, 'cache') }
  const kdfCost = { memoryKib: 8, passes: 1, parallelism: 1 }
  await Repository.init(store, { credential, chunkSizeBytes: CHUNK, kdfCost }, repositoryEnvironment)
  const repository = await Repository.open(store, credential, repositoryEnvironment)
  const input = inputOf('base', new GeneratedDisk(0), { kind: 'all', reason: 'first_backup' })
  const base = await backUp(repository, input, { ...environment, store })
  say(
    `${options.rate} random writes of 4 KiB a second (${options.pattern}) over ${options.size} GiB, ${options.cycles} cycles; ` +
      `in whole chunks at first: ${formatBytes(must(base.disks[0], 'One disk').storedBytes)} stored\n`,
  )
  say(
    '| KiB | cycle | read, median | stored, median | stored, mean | stored, most | packs | CPU, median | CPU, most | merges | ' +
      'open | 4 KiB at random | in sequence: bytes read per byte, CPU |',
  )
  say('|---|---|---|---|---|---|---|---|---|---|---|---|---|')
  const bench = new Bench(repository, store, base)
  for (const seconds of options.seconds.split(',').map(Number)) {
    for (const granularity of options.granularity.split(','))
      await bench.variant(granularity, seconds, Math.min(Number(options.cycles), CYCLES_MAX[granularity] ?? Infinity))
  }
  await repository.close()
}

const folder = await mkdtemp(
  join(options.folder === undefined ? tmpdir() : resolve(options.folder), 'holdfast-cycles-'),
)
try {
  await main(folder)
} finally {
  await rm(folder, { recursive: true, force: true })
}
