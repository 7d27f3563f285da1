import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { KIB, MIB, must, SeededRandom } from '#base'
import { type ByteRange, alignRanges, MemoryDevice } from '#engine/block'
import { isDelta, isZero, MemoryStore, type PointRecord, prune, Repository } from '#engine/repository'
import { backUp } from './backup.ts'
import {
  assertRestores,
  clock,
  CHUNK,
  credential,
  environmentOf,
  freshRepository,
  kdfCost,
  random as entropy,
  removeFolders,
  type Rig,
  stamp,
} from './backup.rig.ts'
import { copyPoints } from './copy.ts'
import { DELTA_LIMITS, type DeltaLimits, NO_DELTAS } from './delta-plan.ts'
import { verifyWithKey, verifyWithoutKey } from './verify.ts'
import { openVersion } from './version-source.ts'

after(removeFolders)

const GRANULE = 4 * KIB

/** A disk, what was written since its last point, and its points with the bytes that they must give back. */
class Model {
  readonly points: { point: PointRecord; bytes: Uint8Array }[] = []
  readonly rig: Rig
  readonly #random: SeededRandom
  #bytes: Uint8Array
  #dirty: ByteRange[] = []
  #version = 1

  constructor(rig: Rig, random: SeededRandom, sizeBytes: number) {
    this.rig = rig
    this.#random = random
    this.#bytes = new Uint8Array(sizeBytes)
    stamp(this.#bytes, MIB, MIB, 1)
    stamp(this.#bytes, sizeBytes - 1024, 1024, 1)
  }

  get bytes(): Uint8Array {
    return this.#bytes
  }

  /** Mostly small writes and zeros in two hot places and a cold one, now and then a long one. */
  write(times: number): void {
    for (let i = 0; i < times; i += 1) {
      const place = this.#random.pick([MIB, 17 * MIB, 0])
      const span = Math.min(place === 0 ? this.#bytes.length : 512 * KIB, this.#bytes.length - place)
      const offset = place + this.#random.below(span / 512) * 512
      const sectors = this.#random.chance(0.1) ? this.#random.below(400) : 1 + this.#random.below(16)
      this.writeAt(offset, Math.min(sectors * 512, this.#bytes.length - offset), this.#random.chance(0.25))
    }
  }

  writeAt(offset: number, length: number, zeros = false): void {
    this.#version += 1
    if (zeros) this.#bytes.fill(0, offset, offset + length)
    else stamp(this.#bytes, offset, length, this.#version)
    if (length > 0) this.#dirty.push({ offset, length })
  }

  grow(byBytes: number): void {
    const grown = new Uint8Array(this.#bytes.length + byBytes)
    grown.set(this.#bytes)
    this.#bytes = grown
  }

  async backUp(deltas: DeltaLimits, granule = GRANULE): Promise<PointRecord> {
    const last = this.points.at(-1)?.point
    const parent = last?.disks[0]
    const dirty = alignRanges(
      this.#dirty.sort((a, b) => a.offset - b.offset),
      granule,
      this.#bytes.length,
    )
    const source = await sparseDevice(this.#bytes)
    const changes =
      parent === undefined
        ? ({ kind: 'all', reason: 'first_backup' } as const)
        : ({ kind: 'since', dirty, parent } as const)
    const allowed = alignRanges(dirty, 1, this.#bytes.length)
    const guarded =
      parent === undefined || this.#bytes.length > parent.virtualSizeBytes ? source : onlyInside(source, allowed)
    const point = await backUp(
      this.rig.repository,
      {
        machine: 'm',
        takenAtMs: clock.nowMs(),
        consistency: 'crash',
        notes: [],
        disks: [
          { id: 'd1', lun: 0, format: 'raw', sizeBytes: this.#bytes.length, source: { opened: guarded }, changes },
        ],
        ...(last === undefined ? {} : { parentPoint: last.id }),
      },
      { store: this.rig.store, clock, random: entropy, writer: 'test', deltas },
    )
    this.#dirty = []
    this.points.push({ point, bytes: this.#bytes.slice() })
    return point
  }
}

async function sparseDevice(bytes: Uint8Array): Promise<MemoryDevice> {
  const device = new MemoryDevice(bytes.length)
  for (let at = 0; at < bytes.length; at += CHUNK) {
    const part = bytes.subarray(at, at + CHUNK)
    if (!isZero(part)) await device.write(at, part)
  }
  return device
}

/** A source of which nothing but the ranges may be asked. */
function onlyInside(device: MemoryDevice, ranges: readonly ByteRange[]): MemoryDevice {
  const read = device.read.bind(device)
  device.read = async (offset, into) => {
    const inside = ranges.some((one) => offset >= one.offset && offset + into.length <= one.offset + one.length)
    assert.ok(inside, `nothing outside the changes is read: ${offset} + ${into.length}`)
    await read(offset, into)
  }
  return device
}

async function assertServes(rig: Rig, point: PointRecord, bytes: Uint8Array, random: SeededRandom): Promise<void> {
  const disk = must(point.disks[0], 'One disk')
  const source = await openVersion(rig.repository, disk, { store: rig.store, cacheBytes: 4 * CHUNK })
  const reads = Array.from({ length: 30 }, async () => {
    const offset = random.below(bytes.length)
    const into = new Uint8Array(Math.min(random.below(3 * CHUNK), bytes.length - offset)).fill(0xee)
    await source.read(offset, into)
    assert.equal(Buffer.compare(into, bytes.subarray(offset, offset + into.length)), 0, `served at ${offset}`)
  })
  await Promise.all(reads)
  for (const { offset, length, kind } of await source.extents(0, bytes.length))
    if (kind !== 'data') assert.ok(isZero(bytes.subarray(offset, offset + length)))
  await source.close()
}

/** Plain bytes of the chunks that are not zeros: no version may claim to use fewer. */
function usedBytesMin(bytes: Uint8Array): number {
  let used = 0
  for (let at = 0; at < bytes.length; at += CHUNK) {
    const part = bytes.subarray(at, at + CHUNK)
    if (!isZero(part)) used += part.length
  }
  return used
}

test('Versions of random small writes, at any limits of the chain, give back their bytes: restored, served, pruned, copied', async () => {
  for (let seed = 1; seed <= 2; seed += 1) {
    const random = new SeededRandom(seed)
    const model = new Model(await freshRepository(), random, 18 * MIB + 512)
    await model.backUp(DELTA_LIMITS)
    const limits = { ...DELTA_LIMITS, depthMax: random.pick([1, 3, 16]), extentsMax: random.pick([30, 200, 10_000]) }
    const depths = new Set<number>()
    for (let step = 0; step < 14; step += 1) {
      model.write(random.below(12))
      if (random.chance(0.06)) model.grow(random.below(5) * 64 * KIB + 512)
      const point = await model.backUp(random.chance(0.05) ? NO_DELTAS : limits, random.pick([GRANULE, 512, 16 * KIB]))
      const disk = must(point.disks[0], 'One disk')
      depths.add(isDelta(disk.root) ? disk.root.delta : 0)
      assert.ok(disk.usedBytes >= usedBytesMin(model.bytes) && disk.usedBytes <= disk.virtualSizeBytes)
      await assertRestores(model.rig.repository, model.rig.store, point, model.bytes)
      await assertServes(model.rig, point, model.bytes, random)
      if (random.chance(0.15)) await forgetSome(model, random)
    }
    assert.ok(depths.has(1) && Math.max(...depths) <= limits.depthMax, `seed ${seed}: depths ${[...depths].join(' ')}`)
    for (const { point, bytes } of model.points)
      await assertRestores(model.rig.repository, model.rig.store, point, bytes)
    await assertCopies(model)
    await model.rig.repository.close()
  }
})

/** Forgets points in the middle of the chain and prunes hard; what is left needs nothing of them. */
async function forgetSome(model: Model, random: SeededRandom): Promise<void> {
  const { repository, store } = model.rig
  const gone = model.points.filter((_, i) => i < model.points.length - 1 && random.chance(0.5))
  await repository.forget(gone.map(({ point }) => point.id))
  for (const one of gone) model.points.splice(model.points.indexOf(one), 1)
  await prune(repository, { clock, random: entropy }, { wasteShareMax: 0.01 })
  const { ok, damage } = await verifyWithKey(repository, { store })
  assert.ok(ok, JSON.stringify(damage))
}

async function assertCopies(model: Model): Promise<void> {
  const { repository } = model.rig
  const store = new MemoryStore({ name: 'copy' })
  const environment = await environmentOf()
  await Repository.init(store, { credential, chunkSizeBytes: CHUNK, kdfCost }, environment)
  const target = await Repository.open(store, credential, environment)
  const { copied } = await copyPoints(repository, target, repository.points(), { random: entropy })
  assert.equal(copied.length, model.points.length)
  await (await target.index()).rebuild()
  for (const { point, bytes } of model.points) await assertRestores(target, store, target.findPoint(point.id), bytes)
  assert.ok((await verifyWithKey(target, { store })).ok)
  await target.close()
}

test('A cycle of small writes stores these and a node, no chunk and no node of the tree', async () => {
  const model = new Model(await freshRepository(), new SeededRandom(3), 8 * MIB)
  for (let at = 0; at < 8 * MIB; at += CHUNK) model.writeAt(at, 512)
  await model.backUp(DELTA_LIMITS)
  for (let cycle = 1; cycle <= 20; cycle += 1) {
    for (let i = 0; i < 10; i += 1) model.writeAt(i * 12 * CHUNK + (cycle % 5) * 8 * KIB, 4 * KIB)
    const disk = must((await model.backUp(DELTA_LIMITS)).disks[0], 'One disk')
    assert.equal(disk.readBytes, 10 * 4 * KIB)
    assert.ok(disk.newBytes <= 10 * 4 * KIB + 8 * KIB || cycle === 17, `cycle ${cycle}: ${disk.newBytes} bytes are new`)
    assert.equal(disk.usedBytes, 8 * MIB)
    assert.ok(isDelta(disk.root))
    assert.equal(disk.root.delta, ((cycle - 1) % 16) + 1)
  }
  const { point, bytes } = must(model.points.at(-1), 'There are points')
  await assertRestores(model.rig.repository, model.rig.store, point, bytes)
  await model.rig.repository.close()
})

test('A damaged pack of delta payload names exactly the points that need it', async () => {
  const model = new Model(await freshRepository(), new SeededRandom(4), 20 * MIB)
  const { repository, store } = model.rig
  await model.backUp(DELTA_LIMITS)
  for (const offset of [2 * MIB, 3 * MIB, 2 * MIB]) {
    model.writeAt(offset, 8 * KIB)
    await model.backUp(DELTA_LIMITS)
  }
  model.writeAt(10 * MIB, 4 * MIB)
  await model.backUp(NO_DELTAS)
  const before = repository.log.state.packs.filter(
    ({ addedIn }) => addedIn === repository.log.state.points.get(model.points[2]?.point.id ?? '')?.number,
  )
  const hurt = must(before[0], 'The third point stored a pack')
  const key = `packs/${hurt.name.slice(0, 2)}/${hurt.name}`
  const bytes = Uint8Array.from(await store.get(key))
  bytes[200] = (bytes[200] ?? 0) ^ 1
  await store.delete(key)
  await store.put(key, [bytes])
  const ids = model.points.map(({ point }) => point.id)
  const { damage } = await verifyWithKey(repository, { store })
  assert.deepEqual(
    damage.map(({ kind, points }) => [kind, [...points].sort()]),
    [['pack_corrupt', ids.slice(2, 4).sort()]],
  )
  const keyless = await verifyWithoutKey(store, { clock, random: entropy }, { store })
  assert.deepEqual(
    keyless.damage.map(({ kind }) => kind),
    ['pack_corrupt'],
  )
  assert.ok(ids.slice(2, 4).every((id) => keyless.damage[0]?.points.includes(id)))
  await repository.close()
})
