/**
 * Disks from one image: `script/node bench/images.ts [disks [rounds]]`. A server of a home of its own, asked over its API as `az` would,
 * by several requests at once; an image of 512 MiB that hold something on a disk of 4 GiB.
 *
 *   first disk     the base is made: the version restored, verified, synced
 *   all others     200 disks, each asked for, followed to its end, on record
 *   files alone    what of that is the overlays: written and synced one after the other, without server and records
 *   qemu-img       the same by one `qemu-img create` each
 *
 * Medians of the rounds; disk use is what the pool's folder takes, by its blocks.
 */
import { execFile } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { mkdir, mkdtemp, open, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { formatBytes, GIB, MIB, must } from '#base'
import { createQcow2Overlay } from '#engine/block'
import { systemClock } from '#runtime'
import { FaceClient } from '../test/api/face-client.ts'
import { VERSION } from '../test/api/api-world.ts'
import { ServedHome } from '../test/server/served-home.ts'

const run = promisify(execFile)
const [DISK_BYTES, DATA_BYTES, AT_ONCE] = [4 * GIB, 512 * MIB, 20]

type Done = Readonly<{ status: string; error?: unknown }>
type Round = Readonly<{ first: number; others: number; overlayBytes: number; baseBytes: number }>

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const startMs = systemClock.monotonicMs()
  await work()
  return (systemClock.monotonicMs() - startMs) / 1000
}

function median(values: readonly number[]): number {
  return must(values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)], 'There is a value')
}

async function blocksIn(folder: string): Promise<number> {
  let bytes = 0
  for (const name of await readdir(folder)) bytes += (await stat(join(folder, name))).blocks * 512
  return bytes
}

class Bench {
  readonly #client: FaceClient
  readonly #group: string
  readonly pool: string

  constructor(home: ServedHome, client: FaceClient, group: string) {
    this.#client = client
    this.#group = group
    this.pool = join(home.home, 'regions', 'eastus', 'pool')
  }

  async do(method: string, path: string, properties?: unknown): Promise<void> {
    const body = properties === undefined ? undefined : { location: 'eastus', properties }
    const answer = await this.#client.ask<Done>(method, `${path}?${VERSION}`, body)
    if (answer.status >= 300) throw new Error(answer.text)
    if (answer.headers['azure-asyncoperation'] === undefined) return
    const done = await this.#client.followed<Done>(answer, 600_000)
    if (done.status !== 'Succeeded') throw new Error(JSON.stringify(done))
  }

  id(kind: string, name: string): string {
    return `${this.#group}/providers/Microsoft.Compute/${kind}/${name}`
  }

  disk(name: string): Promise<void> {
    const creationData = { createOption: 'FromImage', imageReference: { id: this.id('images', 'img') } }
    return this.do('PUT', this.id('disks', name), { creationData })
  }

  /** Several at once, as many as a deployment asks for. */
  async all(names: readonly string[], act: (name: string) => Promise<void>): Promise<void> {
    const queue = names.values()
    const work = async (): Promise<void> => {
      for (const name of queue) await act(name)
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work))
  }
}

async function prepare(home: ServedHome): Promise<Bench> {
  await home.serve()
  const client = new FaceClient(home.home)
  const { subscriptionId } = await client.record()
  const group = `/subscriptions/${subscriptionId}/resourceGroups/rg1`
  const made = await client.ask('PUT', `${group}?${VERSION}`, { location: 'eastus' })
  if (made.status !== 201) throw new Error(made.text)
  const bench = new Bench(home, client, group)
  const source = join(home.home, 'import', 'source.raw')
  await mkdir(join(home.home, 'import'), { recursive: true })
  const file = await open(source, 'w')
  await file.truncate(DISK_BYTES)
  const piece = new Uint8Array(MIB)
  for (let at = 0; at < DATA_BYTES; at += MIB)
    await file.write(randomFillSync(piece), 0, MIB, Math.floor((at / DATA_BYTES) * (DISK_BYTES / MIB)) * MIB)
  await file.close()
  await bench.do('PUT', bench.id('disks', 'source'), {
    creationData: { createOption: 'Import', sourceUri: `file://${source}` },
  })
  await rm(source)
  const osDisk = { osType: 'Linux', osState: 'Generalized', managedDisk: { id: bench.id('disks', 'source') } }
  await bench.do('PUT', bench.id('images', 'img'), { storageProfile: { osDisk } })
  await bench.do('DELETE', bench.id('disks', 'source'))
  return bench
}

async function round(bench: Bench, count: number, number: number): Promise<Round> {
  await rm(join(bench.pool, 'bases'), { recursive: true, force: true })
  const name = (i: number): string => `r${number}-${i}`
  const first = await seconds(() => bench.disk(name(0)))
  const names = Array.from({ length: count }, (_, i) => name(i + 1))
  const before = await blocksIn(join(bench.pool, 'disks'))
  const others = await seconds(() => bench.all(names, (one) => bench.disk(one)))
  const overlayBytes = ((await blocksIn(join(bench.pool, 'disks'))) - before) / count
  const baseBytes = await blocksIn(join(bench.pool, 'bases'))
  await bench.all([name(0), ...names], (one) => bench.do('DELETE', bench.id('disks', one)))
  return { first, others, overlayBytes, baseBytes }
}

async function filesAlone(count: number): Promise<Readonly<{ ours: number; qemuImg: number }>> {
  const folder = await mkdtemp(join(tmpdir(), 'hf-overlays-'))
  try {
    const base = join(folder, 'base.qcow2')
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', base, String(DISK_BYTES)])
    const paths = (word: string): string[] => Array.from({ length: count }, (_, i) => join(folder, `${word}${i}`))
    const ours = await seconds(async () => {
      for (const path of paths('a')) await createQcow2Overlay(path, DISK_BYTES, { path: base, format: 'qcow2' })
    })
    const qemuImg = await seconds(async () => {
      for (const path of paths('b'))
        await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', path])
    })
    return { ours, qemuImg }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function main(): Promise<void> {
  const [count = 200, rounds = 3] = process.argv.slice(2).map(Number)
  await using home = await ServedHome.make()
  const bench = await prepare(home)
  const found: Round[] = []
  const alone: { ours: number; qemuImg: number }[] = []
  for (let i = 0; i < rounds; i += 1) {
    found.push(await round(bench, count, i))
    alone.push(await filesAlone(count))
  }
  const of = (pick: (one: Round) => number): number => median(found.map(pick))
  const lines = [
    `| ${count} disks from one image (${formatBytes(DISK_BYTES)}, ${formatBytes(DATA_BYTES)} of data), medians of ${rounds} | |`,
    '|---|--:|',
    `| the first disk: the base is made | ${of(({ first }) => first).toFixed(2)} s |`,
    `| ${count} more, over the API | ${of(({ others }) => others).toFixed(2)} s |`,
    `| their files alone, written and synced | ${median(alone.map(({ ours }) => ours)).toFixed(2)} s |`,
    `| the same by qemu-img | ${median(alone.map(({ qemuImg }) => qemuImg)).toFixed(2)} s |`,
    `| the base in the pool | ${formatBytes(of(({ baseBytes }) => baseBytes))} |`,
    `| each disk in the pool | ${formatBytes(of(({ overlayBytes }) => overlayBytes))} |`,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}

await main()
