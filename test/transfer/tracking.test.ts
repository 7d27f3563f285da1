/** Change tracking that must not be believed, on a real QEMU: what is read is what is on the disk, whatever a bitmap says. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MIB } from '#base'
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
  const point = await machine.backUp(async () => {
    opened += 1
    // All of the data: whatever is sampled has been overwritten since the instant.
    if (opened === 1) await machine.vm.write(0, 0, 16 * MIB)
  })
  assert.deepEqual([opened, point.mode, machine.warnings.length], [2, 'incremental', 0])
  await machine.assertRestores(point, 0, machine.vm.model[0] ?? Buffer.alloc(0))
})
