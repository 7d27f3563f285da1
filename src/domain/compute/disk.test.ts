import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GIB, TIB } from '#base'
import {
  bytesOfGb,
  DISK_STATES,
  DISK_TRANSITIONS,
  diskBytesOfUpload,
  diskMove,
  growth,
  isRefusal,
  mayBecome,
  sizeFromSource,
  sizeGb,
  stateUnderGrant,
  whyNotDelete,
} from './disk.ts'

test('every state can be left, none is left for itself, and what waits for an upload becomes nothing else', () => {
  for (const from of DISK_STATES) {
    assert.ok(DISK_TRANSITIONS[from].length > 0, from)
    assert.equal(mayBecome(from, from), false)
  }
  assert.deepEqual(
    DISK_STATES.filter((to) => mayBecome('ReadyToUpload', to)),
    ['ActiveUpload'],
  )
  assert.equal(mayBecome('Attached', 'ActiveSAS'), false)
  assert.throws(() => diskMove('Attached', 'ActiveSAS'))
})

test('bytesOfGb() takes whole gibibytes up to 64 TiB and nothing else', () => {
  assert.equal(bytesOfGb(8), 8 * GIB)
  assert.equal(bytesOfGb(65_536), 64 * TIB)
  for (const wrong of [0, -1, 1.5, 65_537, Number.NaN, '8', null]) assert.ok(isRefusal(bytesOfGb(wrong)), String(wrong))
})

test('sizeFromSource() keeps the source’s bytes, grows, and never shrinks', () => {
  const odd = 8 * GIB + 512
  assert.equal(sizeFromSource(odd, undefined), odd)
  assert.equal(sizeFromSource(odd, 9 * GIB), 9 * GIB)
  assert.ok(isRefusal(sizeFromSource(odd, 8 * GIB)))
  assert.equal(sizeGb(odd), 9)
})

test('growth() is nothing for the size that is shown, and refuses a smaller one', () => {
  assert.equal(growth(8 * GIB, 8 * GIB, false), undefined)
  assert.equal(growth(8 * GIB - 512, 8 * GIB, true), undefined)
  assert.equal(growth(8 * GIB - 512, 8 * GIB, false), 8 * GIB)
  assert.equal(growth(8 * GIB, 16 * GIB, true), 16 * GIB)
  assert.ok(isRefusal(growth(8 * GIB, 7 * GIB, false)))
})

test('diskBytesOfUpload() leaves the footer out', () => {
  assert.equal(diskBytesOfUpload(1024 * 1024 + 512), 1024 * 1024)
  for (const wrong of [512, 1000, 0, -512, '1049088', undefined, 65 * TIB])
    assert.ok(isRefusal(diskBytesOfUpload(wrong)), String(wrong))
})

test('a disk that a machine has, or that a URL opens, is not deleted', () => {
  assert.equal(whyNotDelete('Unattached', undefined), undefined)
  assert.equal(whyNotDelete('ReadyToUpload', undefined), undefined)
  assert.ok(isRefusal(whyNotDelete('Unattached', '/vm')))
  for (const state of ['Attached', 'Reserved', 'ActiveSAS', 'ActiveUpload'] as const)
    assert.ok(isRefusal(whyNotDelete(state, undefined)), state)
})

test('stateUnderGrant(): reading what stands still, writing only what was made for it', () => {
  assert.equal(stateUnderGrant('Unattached', 'Read'), 'ActiveSAS')
  assert.equal(stateUnderGrant('Reserved', 'Read'), 'ActiveSAS')
  assert.equal(stateUnderGrant('ActiveSAS', 'Read'), 'ActiveSAS')
  assert.equal(stateUnderGrant('ReadyToUpload', 'Write'), 'ActiveUpload')
  for (const state of ['Attached', 'ReadyToUpload', 'ActiveUpload'] as const)
    assert.ok(isRefusal(stateUnderGrant(state, 'Read')), state)
  for (const state of ['Unattached', 'Attached', 'ActiveSAS'] as const)
    assert.ok(isRefusal(stateUnderGrant(state, 'Write')), state)
})
