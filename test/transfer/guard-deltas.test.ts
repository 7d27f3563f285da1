/** Trying the change tracking of a disk whose last version has delta nodes: no false alarm, and a lie is found all the same. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KIB, MIB } from '#base'
import { isDelta } from '#engine/repository'
import { TrackedMachine } from './tracked-machine.ts'

const CHUNK_BYTES = 256 * KIB
const TURNS = 12
/** A bit of the bitmap. */
const DIRTY_BYTES = 64 * KIB

test('A disk of small changes is never taken for a liar, turn after turn; one that was tampered with is scanned', async (t) => {
  const machine = await TrackedMachine.make([{ sizeBytes: 128 * MIB }], CHUNK_BYTES)
  t.after(() => machine.remove())
  await machine.backUp()
  let sampledBytes = 0
  for (let turn = 0; turn < TURNS; turn += 1) {
    // Of every fourth chunk with data a little, then of those beside them: soon half of them differ from the tree's.
    const places = turn < 2 ? 64 : 3
    for (let i = 0; i < places; i += 1) await machine.vm.write(0, i * MIB + (turn % 2) * 2 * CHUNK_BYTES, 4 * KIB)
    const point = await machine.backUp()
    const [disk] = point.disks
    assert.ok(disk !== undefined && isDelta(disk.root), `turn ${turn} makes a delta node`)
    assert.deepEqual([disk.mode, machine.warnings], ['incremental', []], `turn ${turn}`)
    assert.ok(disk.readBytes >= places * DIRTY_BYTES)
    sampledBytes += disk.readBytes - places * DIRTY_BYTES
    if (turn === TURNS - 1) await machine.assertRestores(point, 0, machine.vm.model[0] ?? Buffer.alloc(0))
  }
  assert.ok(sampledBytes >= TURNS * CHUNK_BYTES, `${sampledBytes} bytes were sampled`)

  await machine.vm.stop()
  await machine.tamper(0)
  await machine.vm.start()
  const expected = await machine.bytesOf(0)
  const found = await machine.backUp()
  assert.deepEqual(
    found.disks.map(({ mode, reason }) => [mode, reason]),
    [['scan', 'guard_mismatch']],
  )
  await machine.assertRestores(found, 0, expected)
})

test('A lie about chunks that delta nodes lie over is found as well', async (t) => {
  const machine = await TrackedMachine.make([{ sizeBytes: 128 * MIB }], CHUNK_BYTES)
  t.after(() => machine.remove())
  await machine.backUp()
  const overlaid = new Set<number>()
  for (let i = 0; i < 16; i += 1) {
    await machine.vm.write(0, i * MIB, 4 * KIB)
    overlaid.add((i * MIB) / CHUNK_BYTES)
  }
  const [disk] = (await machine.backUp()).disks
  assert.ok(disk !== undefined && isDelta(disk.root))
  await machine.vm.stop()
  await machine.tamper(0, (offset) => overlaid.has(Math.floor(offset / CHUNK_BYTES)))
  await machine.vm.start()
  const expected = await machine.bytesOf(0)
  const found = await machine.backUp()
  assert.deepEqual(
    found.disks.map(({ mode, reason }) => [mode, reason]),
    [['scan', 'guard_mismatch']],
  )
  await machine.assertRestores(found, 0, expected)
})
