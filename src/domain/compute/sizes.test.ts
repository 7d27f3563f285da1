import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findMachineSize, MACHINE_SIZES, whyNoRoom } from './sizes.ts'

test('findMachineSize() knows Azure’s names in any case, and sizes of our own', () => {
  assert.deepEqual(findMachineSize('standard_ds1_V2'), { name: 'Standard_DS1_v2', cpus: 1, memoryMib: 3584 })
  assert.deepEqual(findMachineSize('Standard_D4s_v5'), { name: 'Standard_D4s_v5', cpus: 4, memoryMib: 16_384 })
  assert.deepEqual(findMachineSize('Standard_B1ls'), { name: 'Standard_B1ls', cpus: 1, memoryMib: 512 })
  assert.deepEqual(findMachineSize('Standard_E2s_v3'), { name: 'Standard_E2s_v3', cpus: 2, memoryMib: 16_384 })
  assert.deepEqual(findMachineSize('holdfast_2X768'), { name: 'Holdfast_2x768', cpus: 2, memoryMib: 768 })
  for (const name of ['', 'Standard_X', 'Holdfast_0x512', 'Holdfast_1x0', 'Holdfast_1x12', 'Holdfast_999x512'])
    assert.equal(findMachineSize(name), undefined, name)
})

test('no two sizes have one name', () => {
  assert.equal(new Set(MACHINE_SIZES.map(({ name }) => name.toLowerCase())).size, MACHINE_SIZES.length)
})

test('whyNoRoom() gives memory and processors once, to the last', () => {
  const size = { name: 'S', cpus: 2, memoryMib: 1024 }
  const host = { cpus: 4, memoryMib: 2048 }
  assert.equal(whyNoRoom(host, [size], size), undefined)
  assert.match(String(whyNoRoom(host, [size, size], size)), /1024 MiB of memory; of the 2048 MiB .* 0 MiB are free/)
  assert.match(String(whyNoRoom({ ...host, memoryMib: 9999 }, [size, size], size)), /2 processors; .* 0 are free/)
})
