/** Change tracking that must not be believed, on a real QEMU: what is read is what is on the disk, whatever a bitmap says. */
import assert from 'node:assert/strict'
import { copyFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { MIB } from '#base'
import { packKeyOf, type PointRecord, prune } from '#engine/repository'
import { verifyWithKey } from '#engine/transfer'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import { CHUNK_BYTES, TrackedMachine } from './tracked-machine.ts'

const DISK = { sizeBytes: 32 * MIB }

test('A bitmap that lied is found out by the sample: its disk is scanned in the same run, and the point says so', async (t) => {
  const machine = await TrackedMachine.make([DISK, DISK])
  t.after(() => machine.remove())
  await machine.backUp()
  await machine.vm.write(0, 4 * MIB, CHUNK_BYTES)
  await machine.vm.write(1, 5 * MIB, CHUNK_BYTES)
  const honest = await machine.backUp()
  assert.deepEqual(
    honest.disks.map(({ mode }) => mode),
    ['incremental', 'incremental'],
  )
  // 2 % of 16 MiB of data are five chunks.
  for (const { readBytes } of honest.disks) assert.ok(readBytes > CHUNK_BYTES && readBytes <= 6 * CHUNK_BYTES)
  assert.deepEqual(machine.warnings, [])

  await machine.vm.stop()
  await machine.tamper(0)
  await machine.vm.start()
  const expected = await machine.bytesOf(0)
  const graph = await machine.vm.graph()
  const found = await machine.backUp()
  assert.deepEqual(
    found.disks.map(({ mode, reason }) => [mode, reason]),
    [
      ['scan', 'guard_mismatch'],
      ['incremental', undefined],
    ],
  )
  assert.match(machine.warnings.join(), /^The change tracking of disk 0 is wrong/)
  assert.ok(machine.warnings.every((sentence) => found.notes.includes(sentence)))
  await machine.assertRestores(found, 0, expected)
  await machine.assertRestores(found, 1, machine.vm.model[1] ?? Buffer.alloc(0))
  assert.deepEqual(await machine.vm.graph(), graph, 'nothing is left in QEMU')
  const next = await machine.backUp()
  assert.equal(next.mode, 'incremental')
})

test('A guest that writes to what is sampled is not taken for a liar', async (t) => {
  const machine = await TrackedMachine.make([DISK])
  t.after(() => machine.remove())
  await machine.backUp()
  let opened = 0
  const onOpen = async (): Promise<void> => {
    opened += 1
    // All of the data: whatever is sampled has been overwritten since the instant.
    if (opened === 1) await machine.vm.write(0, 0, 16 * MIB)
  }
  const point = await machine.backUp({ onOpen })
  assert.deepEqual([opened, point.mode, machine.warnings.length], [2, 'incremental', 0])
  await machine.assertRestores(point, 0, machine.vm.model[0] ?? Buffer.alloc(0))
})

const LITTLE = { sizeBytes: 4 * MIB }

function reasons(point: PointRecord): unknown[] {
  return point.disks.map(({ mode, reason }) => reason ?? mode)
}

test("A bitmap is one disk's: swapped images, an old copy and an image made anew are scanned, and no other disk is", async (t) => {
  const machine = await TrackedMachine.make([LITTLE, LITTLE])
  t.after(() => machine.remove())
  const { vm } = machine
  const aside = join(vm.folder, 'aside')
  const change = async (): Promise<void> => {
    await vm.write(0, MIB, CHUNK_BYTES)
    await vm.write(1, MIB, CHUNK_BYTES)
  }
  const assertRight = async (point: PointRecord): Promise<void> => {
    for (const lun of [0, 1]) await machine.assertRestores(point, lun, await machine.bytesOf(lun))
  }
  const first = await machine.backUp()
  const generations = first.disks.map(({ generation }) => generation)
  assert.equal(new Set(generations).size, 2, 'each disk has a generation of its own')

  // Moved to another file of the same name: it is still the same disk's bitmap.
  await change()
  await vm.stop()
  await copyFile(vm.pathOf(0), aside)
  await rename(aside, vm.pathOf(0))
  await copyFile(vm.pathOf(1), `${aside}-old`)
  await vm.start()
  const moved = await machine.backUp()
  assert.deepEqual(reasons(moved), ['incremental', 'incremental'])
  await assertRight(moved)

  await change()
  await vm.stop()
  await rename(`${aside}-old`, vm.pathOf(1))
  await vm.start()
  const old = await machine.backUp()
  assert.deepEqual(reasons(old), ['incremental', 'bitmap_wrong_generation'])
  await assertRight(old)

  await vm.stop()
  await rename(vm.pathOf(0), aside)
  await rename(vm.pathOf(1), vm.pathOf(0))
  await rename(aside, vm.pathOf(1))
  await vm.start()
  const swapped = await machine.backUp()
  assert.deepEqual(reasons(swapped), ['bitmap_wrong_generation', 'bitmap_wrong_generation'])
  await assertRight(swapped)

  await vm.stop()
  await checkCommand('qemu-img', ['convert', '-f', 'qcow2', '-O', 'qcow2', vm.pathOf(1), aside])
  await rename(aside, vm.pathOf(1))
  await vm.start()
  const anew = await machine.backUp()
  assert.deepEqual(reasons(anew), ['incremental', 'bitmap_missing'])
  await assertRight(anew)
})

test('A disk that was left out goes on from its own last version, and its point needs no other to live', async (t) => {
  const machine = await TrackedMachine.make([LITTLE, LITTLE])
  t.after(() => machine.remove())
  const { vm, repository, store } = machine
  const first = await machine.backUp()
  await vm.write(0, MIB, CHUNK_BYTES)
  await vm.write(1, 0, CHUNK_BYTES)
  const second = await machine.backUp({ excludeLuns: [1] })
  await vm.write(0, 0, CHUNK_BYTES)
  await vm.write(1, 3 * MIB, CHUNK_BYTES)
  const third = await machine.backUp()
  assert.deepEqual(reasons(third), ['incremental', 'incremental'])
  assert.equal(third.parent, second.id)
  assert.ok(third.disks.every(({ readBytes }) => readBytes <= 3 * CHUNK_BYTES))
  const packs = repository.log.state.packs.map(({ ordinal }) => ordinal)
  const header = repository.log.state.points.get(third.id)?.header
  assert(header)
  assert.deepEqual(
    [...repository.log.state.closureOf(header)].toSorted((a, b) => a - b),
    packs,
    'its closure has the packs of both parents',
  )

  await repository.forget([first.id, second.id])
  await prune(repository, { clock: systemClock, random: systemRandom }, { wasteShareMax: 0.1 })
  for (const lun of [0, 1]) await machine.assertRestores(third, lun, vm.model[lun] ?? Buffer.alloc(0))
  assert.deepEqual((await verifyWithKey(repository, { store })).damage, [])
})

test('What verify found lost is stored again by the next scan of a machine that still has it', async (t) => {
  const machine = await TrackedMachine.make([LITTLE])
  t.after(() => machine.remove())
  const { repository, store } = machine
  const first = await machine.backUp()
  const pack = repository.log.state.packs[0]
  assert(pack)
  const bytes = Uint8Array.from(await store.get(packKeyOf(pack.name)))
  bytes[500] = (bytes[500] ?? 0) ^ 1
  await store.delete(packKeyOf(pack.name))
  await store.put(packKeyOf(pack.name), [bytes])
  const damaged = await verifyWithKey(repository, { store })
  assert.deepEqual(
    damaged.damage.map(({ points }) => points),
    [[first.id]],
  )
  const incremental = await machine.backUp()
  assert.deepEqual([incremental.mode, incremental.disks[0]?.newBytes], ['incremental', 0], 'it looks at changes only')
  const scan = await machine.backUp({ scan: true })
  assert.deepEqual(reasons(scan), ['asked_for'])
  const healed = await verifyWithKey(repository, { store })
  assert.deepEqual(
    healed.damage.map(({ kind, points }) => [kind, points]),
    [['pack_corrupt', []]],
    'the pack is still hurt, and nobody needs it',
  )
  for (const point of [first, incremental, scan])
    await machine.assertRestores(point, 0, machine.vm.model[0] ?? Buffer.alloc(0))
})
