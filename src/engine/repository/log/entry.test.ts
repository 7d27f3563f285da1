import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeEntry, encodeEntry, type Envelope, isAuthentic, openBody } from './entry.ts'
import { keys, REPOSITORY } from './log.rig.ts'

const POINT = {
  schema: 1,
  id: 'c'.repeat(32),
  machine: 'm',
  takenAt: '',
  consistency: 'crash',
  notes: [],
  mode: 'full',
  disks: [],
  attachments: [],
  writer: 'w',
} as const
const ENVELOPE: Envelope = {
  format: 'holdfast-log',
  repository: REPOSITORY,
  number: 7,
  entry: '1'.repeat(64),
  previous: '2'.repeat(64),
  atMs: 5,
  firstOrdinal: 0,
  writer: 'w',
  packs: [{ name: 'a'.repeat(64), lengthBytes: 10 }],
  points: [{ id: POINT.id, uses: '0-3,7' }],
  unpin: [3],
}
const BYTES = encodeEntry(keys, ENVELOPE, { points: [POINT] })

test('decodeEntry() gives back what encodeEntry() was given, and openBody() its sealed points', () => {
  const entry = decodeEntry(BYTES)
  assert.ok(entry !== undefined && isAuthentic(keys, entry))
  assert.deepEqual(entry.envelope, ENVELOPE)
  assert.deepEqual(openBody(keys, entry), { points: [POINT] })
})

test('decodeEntry() of every beginning of an entry is undefined', () => {
  for (let length = 0; length < BYTES.length; length += 1)
    assert.equal(decodeEntry(BYTES.subarray(0, length)), undefined)
})

test('No single changed byte makes an entry that is taken for authentic', () => {
  for (let at = 0; at < BYTES.length; at += 1) {
    for (const flip of [0x01, 0x80, 0xff]) {
      const bytes = Buffer.from(BYTES)
      bytes[at] = (bytes[at] ?? 0) ^ flip
      const entry = decodeEntry(bytes)
      assert.ok(entry === undefined || !isAuthentic(keys, entry), `byte ${at}`)
      if (entry !== undefined) openBody(keys, entry) // must not throw, whatever it gives
    }
  }
})

test('Envelopes of wrong shapes are no entries', () => {
  const wrong: Record<string, unknown>[] = [
    { number: -1 },
    { number: 1.5 },
    { firstOrdinal: -1 },
    { firstOrdinal: undefined },
    { repository: 'xyz' },
    { entry: 'short' },
    { packs: {} },
    { packs: [{ name: '../../etc/passwd', lengthBytes: 1 }] },
    { packs: [null] },
    { packs: [{ name: 'a'.repeat(64), lengthBytes: -1 }] },
    { points: [{ id: POINT.id, uses: '1-2-3' }] },
    { points: [{ id: POINT.id, uses: 4 }] },
    { points: [{ id: POINT.id, uses: '', base: 'x' }] },
    { points: [{ id: POINT.id, uses: '', expiresAtMs: 'never' }] },
    { tombstones: ['A'.repeat(64)] },
    { deletions: [7] },
    { forgotten: 'all' },
    { unpin: ['1'] },
    { moved: { from: '1', to: 2 } },
    { pin: { holder: 'h', purpose: 'p', expiresAtMs: 'soon' } },
    { pin: { holder: 7, purpose: 'p', expiresAtMs: 1 } },
    { pin: [] },
  ]
  for (const fields of wrong) {
    const bytes = encodeEntry(keys, { ...ENVELOPE, ...fields }, {})
    assert.equal(decodeEntry(bytes), undefined, JSON.stringify(fields))
  }
})

test('An entry whose body was taken from another entry does not open', () => {
  const other = encodeEntry(keys, { ...ENVELOPE, number: 8 }, { points: [POINT] })
  const [a, b] = [decodeEntry(BYTES), decodeEntry(other)]
  assert(a !== undefined && b !== undefined)
  const head = a.signed.subarray(0, a.signed.length - a.sealedBody.length)
  const swapped = { ...a, sealedBody: b.sealedBody, signed: Buffer.concat([head, b.sealedBody]) }
  assert.equal(openBody(keys, swapped), undefined)
})
