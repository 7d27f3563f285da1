import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readBackupInput } from './backup.ts'

const INPUT = {
  store: '/srv/backup',
  credential: { kind: 'passphrase-file', path: '/etc/pass' },
  machine: 'db-1',
  qmp: '/run/db.qmp',
} as const

test('readBackupInput() asks an agent for application consistency, and nobody for more than a crash', () => {
  assert.deepEqual(readBackupInput(INPUT), { ...INPUT, consistency: 'crash', strict: false })
  const withAgent = readBackupInput({ ...INPUT, agent: '/run/db.qga', strict: true })
  assert.deepEqual(withAgent, { ...INPUT, agent: '/run/db.qga', consistency: 'application', strict: true })
})

test('readBackupInput() keeps only the fields it knows: a secret given beside them is not stored', () => {
  const read = readBackupInput({ ...INPUT, passphrase: 'x', credential: { ...INPUT.credential, passphrase: 'x' } })
  assert.deepEqual(read, { ...INPUT, consistency: 'crash', strict: false })
})

test('readBackupInput() refuses what a worker elsewhere would read differently, and what makes no sense', () => {
  for (const wrong of [
    { store: 'backup' },
    { qmp: 'db.qmp' },
    { agent: 7 },
    { machine: '' },
    { machine: 'a\nb' },
    { consistency: 'application' },
    { consistency: 'none' },
    { strict: 'yes' },
    { credential: { kind: 'passphrase', passphrase: 'x' } },
    { credential: { kind: 'key-file', path: 'key' } },
  ]) {
    assert.throws(() => readBackupInput({ ...INPUT, ...wrong }), { code: 'job_input_invalid' }, JSON.stringify(wrong))
  }
  assert.throws(() => readBackupInput([]), { code: 'job_input_invalid' })
})
