/**
 * How long opening a log takes, with and without its checkpoints: `script/node bench/log-open.ts [entries...]`. The log is one of
 * 200 machines that commit in turn and keep 5 points each; it lies in a folder, its files in the cache of the system.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { ManualClock, SeededRandom, toHex } from '#base'
import { CommitLog, FolderStore, KeyRing, MemoryStore, type PointRecord } from '#engine/repository'
import { systemClock } from '#runtime'

const REPOSITORY = 'ab'.repeat(16)
const [MACHINES, KEPT, ROUNDS] = [200, 5, 3]
const keys = new KeyRing(new Uint8Array(32).fill(5), Buffer.from(REPOSITORY, 'hex'))
const parts = { keys, repositoryId: REPOSITORY, clock: new ManualClock(), random: new SeededRandom(1), writer: 'bench' }

function recordOf(id: string, number: number): PointRecord {
  const disk = {
    id: 'disk',
    lun: 0,
    format: 'qcow2',
    mode: 'incremental',
    virtualSizeBytes: 2 ** 40,
    usedBytes: 2 ** 30,
  }
  const costs = { readBytes: number, newBytes: number, storedBytes: number, chunkSizeBytes: 2 ** 18 }
  return {
    schema: 1,
    id,
    machine: `machine-${number % MACHINES}`,
    takenAt: '2026-11-22T00:00:00.000Z',
    consistency: 'crash',
    notes: [],
    mode: 'incremental',
    disks: [{ ...disk, ...costs, mode: 'incremental', root: { hash: id + id, level: 2 } }],
    description: { text: 'x'.repeat(600) },
    attachments: [],
    writer: 'bench',
  }
}

async function fill(store: MemoryStore, entries: number): Promise<void> {
  const log = await CommitLog.open({ ...parts, store })
  const ids: string[] = []
  for (let i = 0; i < entries; i += 1) {
    const id = toHex(parts.random.bytes(16))
    const base = ids[i - MACHINES]
    const old = ids[i - MACHINES * KEPT]
    ids.push(id)
    await log.append((state) => {
      const point = { id, uses: `${state.packs.length}`, ...(base === undefined ? {} : { base }) }
      const packs = [{ name: toHex(parts.random.bytes(32)), lengthBytes: 1e6 }]
      const fields = { packs, points: [point], ...(old === undefined ? {} : { forgotten: [old] }) }
      return { fields, body: { points: [recordOf(id, i)] } }
    })
  }
}

async function timed(entries: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-log-open-'))
  try {
    const memory = new MemoryStore()
    await fill(memory, entries)
    let [bytes, checkpoints, newestBytes] = [0, 0, 0]
    for await (const { key, sizeBytes } of memory.list('')) {
      bytes += sizeBytes
      if (key.startsWith('checkpoints/')) [checkpoints, newestBytes] = [checkpoints + 1, sizeBytes]
      await mkdir(dirname(join(folder, key)), { recursive: true })
      await writeFile(join(folder, key), await memory.get(key))
    }
    const store = await FolderStore.open(folder)
    for (const reading of ['entries', 'checkpoint'] as const) {
      const times: number[] = []
      let from = 0
      for (let round = 0; round < ROUNDS; round += 1) {
        const started = systemClock.monotonicMs()
        from = (await CommitLog.open({ ...parts, store }, reading)).from
        times.push(systemClock.monotonicMs() - started)
      }
      const median = times.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)] ?? 0
      process.stdout.write(`${entries} entries, by ${reading} (from ${from}): ${median.toFixed(0)} ms\n`)
    }
    process.stdout.write(`  ${checkpoints} checkpoints, the newest ${newestBytes} bytes; ${bytes} bytes in all\n`)
    await store.close()
  } finally {
    await rm(folder, { recursive: true })
  }
}

for (const entries of process.argv.slice(2).map(Number)) await timed(entries)
