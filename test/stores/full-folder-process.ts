/**
 * Run by full-folder.test.ts in a mount namespace of its own: argument 1 is a small file system that this process may fill to
 * its last byte, argument 2 a folder elsewhere for caches. Ends with 0 when everything is as promised.
 */
import assert from 'node:assert/strict'
import { closeSync, existsSync, openSync, statSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf, isHoldfastError, ManualClock, must, SeededRandom } from '#base'
import { MemoryDevice } from '#engine/block'
import { FolderStore, type PointRecord, prune, Repository } from '#engine/repository'
import { backUp, restoreDisk, verifyWithKey, verifyWithoutKey } from '#engine/transfer'

const MIB = 1024 * 1024
const RESERVE = 8 * MIB
const CREDENTIAL = { kind: 'passphrase', passphrase: 'full' } as const
const [folder, caches] = [must(process.argv[2], 'The file system'), must(process.argv[3], 'The caches')]
const filler = join(folder, '.filler')
const reserve = join(folder, '.reserve')
const [clock, random] = [new ManualClock(1_800_000_000_000), new SeededRandom(1)]
const store = await FolderStore.open(folder)
const open = (name: string): Promise<Repository> =>
  Repository.open(store, CREDENTIAL, { clock, random, cacheFolder: join(caches, name), writer: name })

/** Takes every byte that is left, and some more each time. */
function fillUp(): void {
  const fd = openSync(filler, 'a')
  for (const size of [MIB, 4096, 1]) {
    try {
      for (;;) if (writeSync(fd, Buffer.alloc(size, 0xee)) < size) break
    } catch (error) {
      assert.equal(errnoOf(error), 'ENOSPC')
    }
  }
  closeSync(fd)
}

/** Random bytes that say, by their seed, which content they are. */
const contentOf = (seed: number, mib: number): Uint8Array => new SeededRandom(seed).bytes(mib * MIB)

async function point(repository: Repository, seed: number, mib: number): Promise<PointRecord> {
  const bytes = contentOf(seed, mib)
  const changes = { kind: 'all', reason: 'first_backup' } as const
  const source = { opened: MemoryDevice.from(bytes) }
  const disk = { id: `d${seed}`, lun: 0, format: 'raw', sizeBytes: bytes.length, source, changes }
  const input = { machine: `m${seed}`, takenAtMs: clock.nowMs(), consistency: 'crash', notes: [`${seed}`] } as const
  return backUp(repository, { ...input, disks: [disk] }, { store, clock, random, writer: 'test', packBytesTarget: MIB })
}

async function assertWhole(repository: Repository, record: PointRecord, seed: number, mib: number): Promise<void> {
  const target = new MemoryDevice(mib * MIB)
  await restoreDisk(repository, must(record.disks[0], 'One disk'), { opened: target }, { store, clock })
  assert.equal(Buffer.compare(target.toBytes(), contentOf(seed, mib)), 0, `point ${seed} gives back its bytes`)
}

const init = { credential: CREDENTIAL, chunkSizeBytes: 64 * 1024, kdfCost: { memoryKib: 8, passes: 1, parallelism: 1 } }
const environment = { clock, random, cacheFolder: join(caches, 'init'), writer: 'init' }
await Repository.init(store, { ...init, reserveBytes: RESERVE }, environment)
assert.equal(statSync(reserve).size, RESERVE)
const repository = await open('first')
const kept = await point(repository, 1, 4)
const dropped = await point(repository, 2, 18)
const late = await point(repository, 3, 6)

// Full to the last byte: a backup says so, with the remedy, and leaves everything as it was.
fillUp()
await assert.rejects(point(repository, 4, 4), (error) => {
  assert.ok(isHoldfastError(error, 'store_full'))
  assert.match(error.hint ?? '', new RegExp(`holdfast repo prune ${folder}`))
  return true
})
assert.ok(existsSync(reserve), 'a backup does not touch the reserve')

// Forget and prune go on, and the reserve is there again afterwards.
await repository.forget([dropped.id])
fillUp() // what the reserve gave is gone as well
unlinkSync(filler)
await (await open('again')).withReserve(async () => {})
assert.ok(existsSync(reserve), 'made again when there is space')
fillUp()
const report = await prune(repository, { clock, random })
assert.ok(report.deleted > 0 && report.freedBytes > 17 * MIB, `${report.freedBytes} bytes were freed`)
assert.ok(existsSync(reserve), 'made again from what was freed')
await assertWhole(repository, kept, 1, 4)
await assertWhole(repository, late, 3, 6)

// Two prunes at once on a full store: none deletes what is needed, and in the end the space is free.
await repository.forget([late.id])
fillUp()
const both = await Promise.all([open('a'), open('b')])
const outcomes = await Promise.allSettled(both.map((one) => prune(one, { clock, random })))
for (const outcome of outcomes)
  if (outcome.status === 'rejected') assert.ok(isHoldfastError(outcome.reason, 'prune_overtaken', 'store_full'))
assert.ok(outcomes.some(({ status }) => status === 'fulfilled'))
clock.advance(2 * 3600_000)
const last = await open('last')
await prune(last, { clock, random })
for await (const { key } of store.list('packs/'))
  assert.equal(last.log.state.packNamed(key.slice(-64))?.status, 'live', key)
await assertWhole(last, kept, 1, 4)
assert.deepEqual((await verifyWithKey(last, { store })).damage, [])
assert.deepEqual((await verifyWithoutKey(store, { clock, random }, { store })).damage, [])
