/**
 * What a mirror costs: `script/node bench/mirror.ts [MiB]`. A repository of one machine with random content, mirrored from one folder to another on
 * the same disk: the first pass, one of a small point, one with nothing to do, and the check of both sides.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { randomFillSync } from 'node:crypto'
import { MIB } from '#base'
import { MemoryDevice } from '#engine/block'
import { FolderStore, Mirror, Repository } from '#engine/repository'
import { backUp, checkMirror } from '#engine/transfer'
import { systemClock as clock, systemRandom as random } from '#runtime'

const sizeMib = Number(process.argv[2] ?? 1024)
const folder = await mkdtemp(join(tmpdir(), 'hf-bench-mirror-'))
const environment = { clock, random, cacheFolder: join(folder, 'cache'), writer: 'bench' }
const credential = { kind: 'key-file', bytes: new Uint8Array(32).fill(7) } as const

async function timed<T>(what: string, bytesOf: (result: T) => number, work: () => Promise<T>): Promise<T> {
  const begin = clock.monotonicMs()
  const result = await work()
  const ms = clock.monotonicMs() - begin
  const bytes = bytesOf(result)
  const rate = bytes === 0 ? '' : `, ${(bytes / MIB / (ms / 1000)).toFixed(0)} MiB/s`
  process.stdout.write(`${what}: ${ms.toFixed(0)} ms${rate}\n`)
  return result
}

try {
  const source = await FolderStore.open(join(folder, 'source'), { create: true })
  const target = await FolderStore.open(join(folder, 'target'), { create: true })
  await Repository.init(source, { credential, chunkSizeBytes: 256 * 1024 }, environment)
  const repository = await Repository.open(source, credential, environment)
  const add = async (mib: number): Promise<void> => {
    const bytes = new Uint8Array(mib * MIB)
    for (let at = 0; at < bytes.length; at += 64 * MIB) randomFillSync(bytes.subarray(at, at + 64 * MIB))
    const disk = {
      id: 'd',
      lun: 0,
      format: 'raw',
      sizeBytes: bytes.length,
      source: { opened: MemoryDevice.from(bytes) },
      changes: { kind: 'all', reason: 'bench' } as const,
    }
    const input = { machine: 'm', takenAtMs: clock.nowMs(), consistency: 'crash', notes: [], disks: [disk] } as const
    await backUp(repository, input, { ...environment, store: source })
  }
  await add(sizeMib)
  const mirror = await Mirror.open({ source, target, repository, ...environment })
  await timed(
    'first pass',
    ({ bytes }) => bytes,
    () => mirror.pass(),
  )
  await mirror.pass()
  await add(4)
  await timed(
    'pass of a point of 4 MiB',
    ({ bytes }) => bytes,
    () => mirror.pass(),
  )
  await mirror.pass()
  await timed(
    'pass with nothing to do',
    () => 0,
    () => mirror.pass(),
  )
  const places = {
    source: { kind: 'folder', path: source.location },
    target: { kind: 'folder', path: target.location },
  } as const
  await timed(
    'check of both sides',
    (check) => check.source.checkedBytes + check.target.checkedBytes,
    () => checkMirror({ source, target, repository, places, clock, random }),
  )
} finally {
  await rm(folder, { recursive: true })
}
